// The example UDFs, each asked as a map or a script would, and held against what GDAL and the data say.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, existsSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { VectorTile } from "@mapbox/vector-tile";
import Pbf from "pbf";
import { build, request, root, serve } from "../lib/server.mjs";

const data = join(build, "share/data");
const gdal = (program, ...args) => execFileSync(program, args.map(String), { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const tile = "12/1651/2139", seam = "14/6604/8557"; // in the middle of the scene; where its two halves meet

let server;
before(async () => {
  server = await serve([]);
  await server.ready();
});
after(() => server.stop());

const get = async (udf, rest) => {
  const answer = await request(server, { path: `/UDF_${udf}${rest}` });
  assert.equal(answer.status, 200, answer.text.slice(0, 300));
  return answer;
};
const picture = async (udf, rest) => PNG.sync.read((await get(udf, rest)).body);
/** Colours of the opaque pixels, "r,g,b", each once. */
const colours = ({ data: pixels }) => {
  const found = new Set();
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) found.add(pixels.subarray(i, i + 3).join());
  return found;
};
const opaque = ({ data: pixels }) => pixels.filter((v, i) => i % 4 === 3 && v).length;
const palette = () => JSON.parse(gdal("gdalinfo", "-json", join(data, "crops.tif"))).bands[0].colorTable.entries.slice(0, 6).map((c) => c.slice(0, 3).join());

test("each example has its files, is whole, and is told", async () => {
  const names = readdirSync(join(root, "udfs"));
  assert.ok(names.length >= 14, names.join());
  for (const name of names) {
    const files = readdirSync(join(root, "udfs", name)), readme = readFileSync(join(root, "udfs", name, "README.md"), "utf8");
    assert.ok([`${name}.lua`, "meta.json"].every((file) => files.includes(file)), name);
    for (const [, file] of readme.matchAll(/!\[.+\]\((.+?)\)/g)) assert.ok(existsSync(join(root, "udfs", name, file)), `${name}/${file}`);
    assert.ok(readme.includes(`UDF_${name}`), `${name}: the README has its URL`);
    assert.ok(server.udfs[name], name);
  }
});

test("Elevation: viridis over the heights, its ends where they were asked for", async () => {
  const whole = await picture("Elevation", `/run/tiles/${tile}.png`);
  assert.ok(opaque(whole) > 30000 && colours(whole).size > 50);
  const low = await picture("Elevation", `/run/tiles/${tile}.png?low=1000&high=2000`), high = await picture("Elevation", `/run/tiles/${tile}.png?low=-200&high=-100`);
  assert.deepEqual([...colours(low)], ["68,1,84"]); // the first and the last colour of viridis
  assert.deepEqual([...colours(high)], ["253,231,37"]);
});

test("Elevation_Stats: the circle has its area, and heights of the file", async () => {
  const { bands: [{ min, max }] } = JSON.parse(gdal("gdalinfo", "-json", "-mm", join(data, "olinda_dem_utm25s.tif")).replace(/"computedM/g, '"m'));
  for (const radius of [300, 900]) {
    const s = (await get("Elevation_Stats", `/run/file?lat=-8&lng=-34.88&radius=${radius}`)).json;
    assert.ok(Math.abs(s.count * 900 / (Math.PI * radius ** 2) - 1) < 0.03, `${s.count} pixels`);
    assert.ok(min <= s.min && s.min <= s.mean && s.mean <= s.max && s.max <= max && s.std > 0, JSON.stringify(s));
  }
});

test("Crop_Types: the colours of the file's palette, one of them for one class", async () => {
  const all = palette();
  for (const at of [tile, seam, "10/412/534"]) {
    const found = colours(await picture("Crop_Types", `/run/tiles/${at}.png`));
    assert.ok(found.size > 1 && [...found].every((c) => all.includes(c)), [...found].join(" "));
  }
  assert.deepEqual([...colours(await picture("Crop_Types", `/run/tiles/${tile}.png?class=4`))], [all[4]]);
});

test("Land_Cover_Mosaic: two halves are the whole, to the pixel", async () => {
  const halves = await picture("Land_Cover_Mosaic", `/run/tiles/${seam}.png`), whole = await picture("Crop_Types", `/run/tiles/${seam}.png`);
  assert.equal(opaque(halves), 65536);
  assert.ok(halves.data.equals(whole.data));
  const west = await picture("Land_Cover_Mosaic", `/run/tiles/${seam}.png?files=${encodeURIComponent('["fd://cover_west.tif"]')}`);
  assert.ok(opaque(west) > 1000 && opaque(west) < 64000, "the seam runs through this tile");
});

test("NDVI_Dates: dates differ, a date has not changed since itself", async () => {
  const [a, b] = await Promise.all(["2000-07-15", "2001-03-02"].map((date) => picture("NDVI_Dates", `/run/tiles/${tile}.png?date=${date}`)));
  assert.equal(opaque(a), opaque(b));
  assert.ok(!a.data.equals(b.data));
  assert.equal(colours(await picture("NDVI_Dates", `/run/tiles/${tile}.png?date=2000-07-15&since=2000-07-15`)).size, 1);
  assert.equal((await request(server, { path: `/UDF_NDVI_Dates/run/tiles/${tile}.png?date=1999-01-01` })).status, 422);
});

test("Building_Heights: the buildings of the file, each with the ground beneath it", async () => {
  const box = [-34.9, -8.005, -34.89, -7.995], { features } = (await get("Building_Heights", `.geojson?bounds=${box}&min_floors=3`)).json;
  const listed = gdal("ogrinfo", "-q", "-al", "-geom=NO", "-spat", ...box, "-where", "floors >= 3", join(data, "buildings.fgb"));
  assert.deepEqual(features.map((f) => f.properties.id).sort((a, b) => a - b),
    [...listed.matchAll(/ id .*= (\d+)/g)].map(([, id]) => Number(id)).sort((a, b) => a - b));
  assert.ok(features.length > 10);
  for (const { properties: p } of features) assert.ok(p.ground_min <= p.ground_mean && p.ground_mean <= p.ground_max, JSON.stringify(p));
  const { udf } = new VectorTile(new Pbf(Uint8Array.from((await get("Building_Heights", "/run/tiles/15/13207/17114.mvt")).body))).layers;
  const seen = new Map(features.map((f) => [f.properties.id, f.properties.ground_mean]));
  let shared = 0;
  for (let i = 0; i < udf.length; i++) {
    const { id, properties: { ground_mean: mean } } = udf.feature(i);
    if (seen.has(id)) shared += Math.abs(seen.get(id) - mean) < 1;
  }
  assert.ok(udf.length > 20 && shared > 0);
});

test("Segment_Image: four numbers, four colours", async () => {
  const raw = (await get("Segment_Image", `/run/tiles/${tile}.npy?raw=true`)).body, head = raw.readUInt16LE(8) + 10;
  assert.match(raw.toString("latin1", 10, head), /'\|u1'/);
  assert.deepEqual([...new Set(raw.subarray(head))].sort(), [0, 1, 2, 3]);
  assert.equal(colours(await picture("Segment_Image", `/run/tiles/${tile}.png`)).size, 4);
});

test("Single_Point: one point, where it was asked for, in each vector format", async () => {
  const { features } = (await get("Single_Point", ".geojson?lat=47.5&lng=8.25&name=%E2%98%83")).json;
  assert.deepEqual(features.map(({ geometry, properties }) => ({ geometry, properties })),
    [{ geometry: { type: "Point", coordinates: [8.25, 47.5] }, properties: { name: "☃" } }]);
  for (const format of ["csv", "parquet", "feather", "gpkg", "fgb", "xlsx", "xml", "html", "svg"]) assert.ok((await get("Single_Point", `.${format}`)).body.length > 25, format);
});

test("Census_Join: the figures of the delimited file, on the countries of the other", async () => {
  const wanted = new Map(readFileSync(join(data, "country_places.psv"), "utf8").trim().split("\n").map((line) => line.split("|"))
    .filter(([, variable]) => variable === "places").map(([country, , value]) => [country, Number(value)]));
  const { features } = (await get("Census_Join", ".geojson?variable=places")).json;
  assert.ok(features.length > 200);
  for (const { properties, geometry } of features) {
    assert.equal(properties.value, wanted.get(properties.name), properties.name);
    assert.match(geometry.type, /Polygon$/);
  }
  const sizes = await Promise.all(["1/1/0", "4/8/5"].map(async (at) => (await get("Census_Join", `/run/tiles/${at}.mvt`)).body.length));
  assert.ok(sizes.every((bytes) => bytes > 500), sizes.join());
});

test("Sun_Animation: as many frames as asked for, the first is the UDF's own tile", async () => {
  const film = (await get("Sun_Animation", ".apng?frames=5&delay_ms=100")).body, at = film.indexOf("acTL");
  assert.equal(film.readUInt32BE(at + 4), 5);
  assert.equal(film.toString("latin1").split("fcTL").length - 1, 5);
  const first = PNG.sync.read(film), tileItself = await picture("Olinda_Hillshade", `/run/tiles/${tile}.png?azimuth=0&altitude=30`);
  assert.ok(first.data.equals(tileItself.data));
  assert.match((await get("Sun_Animation", ".gif?frames=2")).body.toString("latin1", 0, 6), /GIF89a/);
});

test("Height_Profile: each row is what Elevation_Stats answers there; a point without data spoils no other", async () => {
  const rows = (await get("Height_Profile", ".json?points=4&radius=150")).json;
  assert.deepEqual(rows.map((row) => row.n), [1, 2, 3, 4]);
  for (const [i, row] of rows.entries()) {
    const [lng, lat] = [-34.91 + i / 3 * 0.08, -8.02 + i / 3 * 0.05];
    const stats = (await get("Elevation_Stats", `/run/file?lng=${lng}&lat=${lat}&radius=150`)).json;
    assert.ok(Math.abs(row.mean - stats.mean) < 1e-6, `${row.mean}, ${stats.mean}`);
  }
  const far = (await get("Height_Profile", `.json?points=3&from=${encodeURIComponent("[-34.88,-8]")}&to=${encodeURIComponent("[10,50]")}`)).json;
  assert.ok(far[0].mean > 0 && far[2].mean === null, JSON.stringify(far));
});
