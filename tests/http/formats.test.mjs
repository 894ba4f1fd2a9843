// Every format read back by readers that are not ours: pngjs, geotiff, @mapbox/vector-tile, GDAL's programs. Pixels are
// compared with what gdalwarp reads and this file computes.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { PNG } from "pngjs";
import { fromArrayBuffer, fromFile } from "geotiff";
import { VectorTile } from "@mapbox/vector-tile";
import Pbf from "pbf";
import { build, folder, request, serve, writeUdf } from "../lib/server.mjs";

const golden = join(dirname(fileURLToPath(import.meta.url)), "../golden");
const scene = join(build, "share/data/L7_ETMs.tif");
const work = folder(), dir = folder();
writeUdf(dir, "Ndvi", `local moon = require "moon"
return moon.udf(function(bounds, resampling)
  local b = moon.read_raster("fd://L7_ETMs.tif", bounds, { bands = { red = 3, nir = 4 }, resampling = resampling })
  return (b.nir - b.red) / (b.nir + b.red)
end, { bounds = moon.type.bounds, resampling = "nearest" })`);
writeUdf(dir, "Bands", `local moon = require "moon"
return moon.udf(function(bounds) return moon.read_raster("fd://L7_ETMs.tif", bounds, { bands = { 3, 2, 1 } }) end, { bounds = moon.type.bounds })`);
writeUdf(dir, "Rows", `local moon = require "moon"
return moon.udf(function(...) return moon.table {
  { name = 'say "hi", you', n = 1, x = 0.5, good = true, geometry = moon.point(1, 2) },
  { name = "zwei\\nZeilen", n = -2, x = 1e-7, good = false, geometry = moon.point(-3.25, 4.5) },
  { name = "三 <b>&amp;", n = 9007199254740991, geometry = moon.point(179.5, -89) },
} end, {})`);
writeUdf(dir, "Values", `local moon = require "moon"
return moon.udf(function(bounds)
  return moon.table(moon.range(4000, function(i)
    local k = i % 1000
    return { n = i, fresh = i / 3, old = "of " .. i % 5, both = k < 400 and "new " .. i or "old " .. i % 7,
      geometry = moon.point(-179 + i * 0.0893, -80 + i * 7 % 1600 * 0.1) }
  end))
end, { bounds = moon.type.tile })`);
writeUdf(dir, "Plain", `local moon = require "moon"
return moon.udf(function() return moon.table { { a = 1, b = "x" }, { a = 2, b = "=1+1" } } end, {})`);
writeUdf(dir, "Layers", `local moon = require "moon"
return moon.udf(function(bounds)
  return { ring = moon.table { { id = 5, geometry = bounds:polygon() } }, dots = moon.table { { geometry = moon.point(bounds:center()) } } }
end, { bounds = moon.type.tile })`);

let server;
before(async () => {
  server = await serve([dir]);
  await server.ready();
});
after(() => server.stop());

const get = async (udf, rest) => {
  const answer = await request(server, { path: `/${server.udfs[udf]}${rest}` });
  assert.equal(answer.status, 200, answer.text.slice(0, 300));
  return answer;
};
const mercator = 20037508.342789244;
const extent = (z, x, y) => {
  const side = 2 * mercator / 2 ** z;
  return [-mercator + x * side, mercator - (y + 1) * side, -mercator + (x + 1) * side, mercator - y * side];
};
const gdal = (program, ...args) => execFileSync(program, args.map(String), { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Bands of the scene within a tile, by gdalwarp: NaN where there is none. */
async function warped(tile, bands, resampling, size = 256) {
  const file = join(work, `warp-${tile.join("-")}-${resampling}-${size}.tif`);
  if (!existsSync(file))
    gdal("gdalwarp", "-q", "-t_srs", "EPSG:3857", "-te", ...extent(...tile), "-ts", size, size, "-r", resampling, "-et", 0,
      "-ot", "Float32", "-dstnodata", "nan", scene, file);
  const image = await (await fromFile(file)).getImage();
  return image.readRasters({ samples: bands.map((b) => b - 1) });
}

/** Mean of absolute differences of the places where both have a value; and where just one has. */
function compare(a, b) {
  let sum = 0, n = 0, lonely = 0;
  for (let i = 0; i < a.length; i++)
    if (Number.isNaN(a[i]) !== Number.isNaN(b[i])) lonely++;
    else if (!Number.isNaN(a[i])) { sum += Math.abs(a[i] - b[i]); n++; }
  return { mean: sum / n, n, lonely: lonely / a.length };
}

const ndviOf = ([red, nir]) => Float64Array.from(red, (r, i) => (nir[i] - r) / (nir[i] + r));
const rdylgn = ["a50026", "d73027", "f46d43", "fdae61", "fee08b", "ffffbf", "d9ef8b", "a6d96a", "66bd63", "1a9850", "006837"]
  .map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
const colour = (t) => {
  const at = Math.min(Math.max(t, 0), 1) * 10, i = Math.min(Math.floor(at), 9);
  return rdylgn[i].map((from, c) => from + (rdylgn[i + 1][c] - from) * (at - i));
};
const raster = async (answer) => {
  const image = await (await fromArrayBuffer(Uint8Array.from(answer.body).buffer)).getImage();
  return { image, bands: await image.readRasters() };
};

for (const tile of [[12, 1651, 2138], [13, 3302, 4277], [14, 6604, 8554], [10, 412, 534]])
  test(`NDVI ${tile.join("/")} has the colours of gdalwarp's pixels`, async () => {
    const png = PNG.sync.read((await get("Landsat_NDVI", `/run/tiles/${tile.join("/")}.png`)).body);
    const ndvi = ndviOf(await warped(tile, [3, 4], "near"));
    let sum = 0, n = 0, wrong = 0;
    for (let i = 0; i < ndvi.length; i++) {
      if ((png.data[4 * i + 3] === 0) !== Number.isNaN(ndvi[i])) wrong++;
      else if (!Number.isNaN(ndvi[i])) {
        colour((ndvi[i] + 0.2) / 1).forEach((level, c) => { sum += Math.abs(level - png.data[4 * i + c]); });
        n += 3;
      }
    }
    assert.ok(n > 3000, "the tile shows some of the scene");
    assert.ok(sum / n <= 1, `mean difference ${sum / n}`);
    assert.ok(wrong / ndvi.length < 0.002, `${wrong} pixels are there in one only`);
  });

const gdalName = { nearest: "near", bilinear: "bilinear", cubic: "cubic", average: "average" };
for (const resampling of Object.keys(gdalName))
  test(`values in a GeoTIFF: ${resampling} as gdalwarp has it`, async () => {
    // 10/412/534 is reduced (average matters), 14/… magnified; each at its tile's size
    for (const tile of resampling === "average" ? [[10, 412, 534]] : [[14, 6604, 8554], [12, 1651, 2138]]) {
      const { image, bands } = await raster(await get("Bands", `/run/tiles/${tile.join("/")}.tif`));
      assert.deepEqual([image.getWidth(), image.getHeight()], [256, 256]);
      if (resampling !== "nearest") continue;
      const oracle = await warped(tile, [3, 2, 1], gdalName[resampling]);
      for (let b = 0; b < 3; b++) {
        const ours = Float64Array.from(bands[b], (v, i) => Number.isNaN(oracle[b][i]) ? NaN : v);
        const { mean } = compare(ours, oracle[b]);
        assert.ok(mean <= 1, `band ${b + 1}: mean difference ${mean}`);
      }
    }
    const tile = resampling === "average" ? [10, 412, 534] : [13, 3302, 4277];
    const { bands } = await raster(await get("Ndvi", `/run/tiles/${tile.join("/")}.tif?resampling=${resampling}`));
    const { mean, n, lonely } = compare(bands[0], ndviOf(await warped(tile, [3, 4], gdalName[resampling])));
    assert.ok(n > 500 && mean <= 1 / 255 && lonely < 0.02, `mean difference ${mean} of ${n}, ${lonely} in one only`);
  });

test("a GeoTIFF says where it is, to gdalinfo too", async () => {
  const answer = await get("Ndvi", "/run/tiles/12/1651/2138.tif");
  const { image } = await raster(answer);
  const box = extent(12, 1651, 2138);
  image.getBoundingBox().forEach((v, i) => assert.ok(Math.abs(v - box[i]) < 1e-3, `${v} ${box[i]}`));
  assert.equal(image.getGeoKeys().ProjectedCSTypeGeoKey, 3857);
  const file = join(work, "ndvi.tif");
  writeFileSync(file, answer.body);
  const info = JSON.parse(gdal("gdalinfo", "-json", file));
  assert.match(info.coordinateSystem.wkt, /Pseudo-Mercator/);
  assert.deepEqual(info.size, [256, 256]);
  assert.equal(info.bands[0].type, "Float32");
});

test("a file call gives the scene's own grid", async () => {
  const file = join(work, "own.tif");
  writeFileSync(file, (await get("Bands", "/run?bounds=-34.95,-8.05,-34.80,-7.93&format=tif")).body);
  const info = JSON.parse(gdal("gdalinfo", "-json", file));
  assert.match(info.coordinateSystem.wkt, /UTM zone 25S/);
  assert.equal(info.bands.length, 3);
  assert.ok(Math.abs(info.geoTransform[1] - 28.5) < 0.01, `${info.geoTransform}`);
});

test("jpg and webp show what png shows", async () => {
  const decoded = async (format, query = "") => {
    const file = join(work, `image.${format}`);
    writeFileSync(file, (await get("Bands", `/run/tiles/13/3302/4276.${format}${query}`)).body);
    gdal("gdal_translate", "-q", "-of", "PNG", file, `${file}.png`);
    return PNG.sync.read(readFileSync(`${file}.png`));
  };
  const png = await decoded("png");
  for (const [format, query, limit] of [["jpg", "?jpg.quality=95", 4], ["webp", "?webp.lossless=true", 0]]) {
    const other = await decoded(format, query);
    assert.deepEqual([other.width, other.height], [256, 256]);
    let sum = 0;
    for (let i = 0; i < png.data.length; i += 4)
      for (let c = 0; c < 3; c++) sum += png.data[i + 3] ? Math.abs(png.data[i + c] - other.data[i + c]) : 0;
    assert.ok(sum / (png.data.length * 0.75) <= limit, `${format}: ${sum / (png.data.length * 0.75)}`);
  }
});

test("hillshade: four tiles are one picture of 512 pixels", async () => {
  const whole = PNG.sync.read((await get("Olinda_Hillshade", "/run/tiles/12/1651/2138@2x.png")).body);
  let different = 0, seen = 0;
  for (const [dx, dy] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
    const part = PNG.sync.read((await get("Olinda_Hillshade", `/run/tiles/13/${3302 + dx}/${4276 + dy}.png`)).body);
    for (let y = 0; y < 256; y++)
      for (let x = 0; x < 256; x++) {
        const a = 4 * (y * 256 + x), b = 4 * ((y + dy * 256) * 512 + x + dx * 256);
        seen += part.data[a + 3] > 0;
        for (let c = 0; c < 4; c++) different += part.data[a + c] !== whole.data[b + c];
      }
  }
  assert.ok(seen > 50000, `${seen} pixels of relief`);
  assert.equal(different, 0, `of ${seen} pixels`);
});

for (const [name, udf, path] of [["ndvi", "Landsat_NDVI", "12/1651/2138"], ["hillshade", "Olinda_Hillshade", "12/1651/2138"]])
  test(`golden: ${name}`, async () => {
    const file = join(golden, `${name}.png`), answer = await get(udf, `/run/tiles/${path}.png`);
    if (process.env.MOONGATE_GOLDEN === "write") return writeFileSync(file, answer.body);
    const now = PNG.sync.read(answer.body), then = PNG.sync.read(readFileSync(file));
    assert.deepEqual([now.width, now.height], [then.width, then.height]);
    const far = now.data.reduce((n, v, i) => n + (Math.abs(v - then.data[i]) > 2), 0);
    assert.ok(far / now.data.length < 0.001, `${far} samples differ from tests/golden/${name}.png`);
  });

const layersOf = (answer) => new VectorTile(new Pbf(answer.body)).layers;

test("mvt: places with typed attributes", async () => {
  const { udf } = layersOf(await get("World_Places", "/run/tiles/8/133/90.mvt"));
  assert.equal(udf.version, 2);
  assert.equal(udf.extent, 4096);
  const csv = await get("World_Places", "/run?z=8&x=133&y=90&format=csv");
  assert.ok(udf.length > 100);
  const names = new Set();
  for (let i = 0; i < udf.length; i++) {
    const feature = udf.feature(i), [[point]] = feature.loadGeometry();
    assert.equal(feature.type, 1);
    assert.ok(Math.max(Math.abs(point.x - 2048), Math.abs(point.y - 2048)) <= 2048 + 256, `${point.x} ${point.y}`);
    assert.deepEqual(Object.keys(feature.properties).sort().slice(0, 3), ["admin1", "admin2", "country"]);
    names.add(feature.properties.name);
  }
  for (const line of csv.text.trim().split("\n").slice(1, 50)) {
    const name = line.split(",")[0];
    if (!name.startsWith('"')) assert.ok(names.has(name), `${name} is in the table and not in the tile`);
  }
});

test("mvt: each value is its feature's, in columns of new values, of old ones, and of both by turns; thinned too", async () => {
  const word = (i) => i % 1000 < 400 ? `new ${i}` : `old ${i % 7}`;
  for (const [query, whole] of [["", true], ["?mvt.max_bytes=40000", false]]) {
    const answer = await get("Values", `/run/tiles/0/0/0.mvt${query}`);
    const { udf } = layersOf(answer);
    assert.equal(udf.length === 4000, whole, `${udf.length} features, ${answer.headers["x-moongate-thinned"]}`);
    assert.ok(udf.length > 300);
    for (let k = 0; k < udf.length; k++) {
      const { n, fresh, old, both } = udf.feature(k).properties;
      assert.deepEqual([fresh, old, both], [n / 3, `of ${n % 5}`, word(n)], `row ${n}`);
    }
    if (whole) assert.ok(udf._values.length < 4000 + 4000 + 2100, `${udf._values.length} values: those that repeat are found`);
  }
});

test("mvt: polygons are closed, wound and clipped", async () => {
  const { udf } = layersOf(await get("World_Countries", "/run/tiles/3/4/2.mvt"));
  const names = [];
  let rings = 0;
  for (let i = 0; i < udf.length; i++) {
    const feature = udf.feature(i), parts = feature.loadGeometry();
    assert.equal(feature.type, 3);
    names.push(feature.properties.name);
    const area = (ring) => ring.reduce((sum, p, k) => { const q = ring[(k + 1) % ring.length]; return sum + p.x * q.y - q.x * p.y; }, 0);
    assert.ok(area(parts[0]) > 0, `${feature.properties.name}: the first ring is an outer one`);
    for (const ring of parts) {
      rings++;
      assert.deepEqual([ring[0].x, ring[0].y], [ring.at(-1).x, ring.at(-1).y]);
      for (const p of ring) assert.ok(p.x >= -512 && p.x <= 4608 && p.y >= -512 && p.y <= 4608, `${p.x} ${p.y}`);
    }
    assert.equal(feature.toGeoJSON(4, 2, 3).type, "Feature");
  }
  assert.ok(rings > 10 && names.includes("Germany") && !names.includes("Brazil"), names.join());
});

test("countries: no border runs across the map, from one side of the antimeridian to the other", async () => {
  const { json } = await get("World_Countries", ".geojson?bounds=-180,-90,180,90");
  const names = json.features.map((f) => f.properties.name);
  assert.ok(names.length > 230 && names.includes("Fiji") && names.includes("Antarctica"), `${names.length}`);
  for (const { properties, geometry } of json.features)
    for (const ring of (geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates).flat())
      ring.forEach(([x, y], i) => assert.ok(!i || Math.abs(x - ring[i - 1][0]) < 180 || y < -89, `${properties.name}: ${ring[i - 1]} to ${x},${y}`));
});

test("mvt: named tables are layers, an integer id is the feature's id", async () => {
  const layers = layersOf(await get("Layers", "/run/tiles/5/3/3.mvt"));
  assert.deepEqual(Object.keys(layers).sort(), ["dots", "ring"]);
  assert.equal(layers.ring.feature(0).id, 5);
  assert.ok(Math.abs(layers.dots.feature(0).loadGeometry()[0][0].x - 2048) <= 1);
});

test("mvt: the whole world fits into 500 kB, says what was left out, and is the same each time", async () => {
  const path = "/run/tiles/0/0/0.mvt?cache_max_age=0";
  const [one, two] = [await get("World_Places", path), await get("World_Places", path)];
  assert.ok(one.body.length <= 500000, `${one.body.length}`);
  assert.match(one.headers["x-moongate-thinned"], /\d+\/\d+/);
  assert.deepEqual(one.body, two.body);
});

test("geojson: ogrinfo reads each attribute", async () => {
  const file = join(work, "rows.geojson"), answer = await get("Rows", ".geojson");
  assert.equal(answer.headers["content-type"], "application/geo+json");
  writeFileSync(file, answer.body);
  const info = gdal("ogrinfo", "-ro", "-al", file);
  for (const line of [/Feature Count: 3/, /Geometry: Point/, /name \(String\) = say "hi", you/, /n \(Integer64\) = 9007199254740991/,
    /x \(Real\) = 1e-0?7/, /good \(Integer\(Boolean\)\) = 1/, /x \(Real\) = \(null\)/, /POINT \(-3\.25 4\.5\)/])
    assert.match(info, line);
  assert.deepEqual(JSON.parse(answer.text).features[2].properties.name, "三 <b>&amp;");
});

test("csv and tsv: quotes, lines, commas and missing values", async () => {
  const csv = await get("Rows", ".csv");
  assert.match(csv.headers["content-type"], /^text\/csv; charset=utf-8/);
  assert.match(csv.headers["content-disposition"], /filename="Rows\.csv"/);
  const file = join(work, "rows.csv");
  writeFileSync(file, csv.body);
  const info = gdal("ogrinfo", "-ro", "-al", "-oo", "AUTODETECT_TYPE=YES", file);
  for (const line of [/Feature Count: 3/, /name \(String\) = say "hi", you/, /name \(String\) = zwei\nZeilen/, /= POINT ?\(1 2\)/])
    assert.match(info, line);
  const tsv = (await get("Plain", ".tsv")).text.trimEnd().split(/\r?\n/).map((line) => line.split("\t"));
  assert.deepEqual(tsv[0], ["a", "b"]);
  assert.equal(tsv.length, 3);
});

test("json: records", async () => {
  assert.deepEqual((await get("Plain", "/run")).json, [{ a: 1, b: "x" }, { a: 2, b: "=1+1" }]);
  const [first, , third] = (await get("Rows", ".json")).json;
  assert.deepEqual([first.name, first.n, first.x, first.good], ['say "hi", you', 1, 0.5, true]);
  assert.equal(third.n, 9007199254740991);
});

test("html: everything is escaped", async () => {
  const { text, headers } = await get("Rows", ".html");
  assert.match(headers["content-type"], /^text\/html; charset=utf-8/);
  assert.match(text, /三 &lt;b&gt;&amp;amp;/);
  assert.doesNotMatch(text, /三 <b>/);
});

test("GDAL reads a shared tif in place, by ranges", async () => {
  const url = `/vsicurl/${server.url}/${server.udfs.Bands}.tif?z=12&x=1651&y=2138`;
  const info = JSON.parse(execFileSync("gdalinfo", ["-json", "-stats", url], { encoding: "utf8",
    env: { ...process.env, GDAL_DISABLE_READDIR_ON_OPEN: "EMPTY_DIR", GDAL_PAM_ENABLED: "NO", CPL_VSIL_CURL_CHUNK_SIZE: "16384" } }));
  assert.deepEqual(info.size, [256, 256]);
  assert.ok(info.bands[0].maximum > 50);
});
