// moongate seed: what archives hold is what the server sends, tile by tile. PMTiles is read by its authors' reader,
// MBTiles by GDAL. A run that is cut short goes on where it was.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { join } from "node:path";
import { PMTiles } from "pmtiles";
import { cli, folder, program, request, serve, until, writeUdf } from "../lib/server.mjs";

const dir = folder(), out = folder();
let server;
before(async () => {
  writeUdf(dir, "Slow", `local moon = require "moon"
return moon.udf(function(bounds, n)
  local t = 0
  for i = 1, 3e6 do t = t + i % 7 end
  if bounds.x % 4 == 3 then return nil end
  return moon.table({ { x = bounds.x, n = n, geometry = moon.point((bounds.xmin + bounds.xmax) / 2, (bounds.ymin + bounds.ymax) / 2) } })
end, { bounds = moon.type.tile, n = 1 })`, { "meta.json": JSON.stringify({ version: "0.0.3", job_config: { version: "0.0.3", name: "Slow", metadata: {}, steps: [{
    type: "udf", udf: { type: "lua", name: "Slow", entrypoint: "udf", parameters: {}, metadata: { "fused:udfType": "vector_tile",
      "moongate:bounds": [-10, -10, 10, 10], "moongate:zooms": [0, 3] }, source: "Slow.lua", headers: [] } }] } }) });
  writeUdf(dir, "Breaks", `local moon = require "moon"
return moon.udf(function(bounds) if bounds.z == 2 then error("no more") end return moon.table({ { a = 1, geometry = moon.point(1, 1) } }) end, { bounds = moon.type.tile })`);
  server = await serve([dir]);
  await server.ready();
});
after(() => server.stop());
const env = { MOONGATE_DATA: folder() };
const seed = (...args) => cli(["seed", "--json", ...args], { env });
const open = (path) => {
  const bytes = readFileSync(path);
  return new PMTiles({ getKey: () => path, getBytes: async (at, n) => ({ data: bytes.buffer.slice(bytes.byteOffset + at, bytes.byteOffset + at + n) }) });
};
const tile = async (name, z, x, y, extension) => (await request(server, { path: `/UDF_${name}/run/tiles/${z}/${x}/${y}.${extension}` })).body;

test("PMTiles of vector tiles: each tile is the server's, nothing more and nothing less", async () => {
  const path = join(out, "countries.pmtiles"), done = seed("World_Countries", "--bounds=-20,35,30,60", "--zooms", "0-4", "--output", path);
  assert.equal(done.code, 0, done.err);
  const archive = open(path), header = await archive.getHeader(), metadata = await archive.getMetadata();
  assert.deepEqual([header.specVersion, header.tileType, header.tileCompression, header.minZoom, header.maxZoom, header.clustered], [3, 1, 2, 0, 4, true]);
  assert.deepEqual([header.minLon, header.minLat, header.maxLon, header.maxLat], [-20, 35, 30, 60]);
  assert.deepEqual(metadata.vector_layers, [{ id: "udf", fields: { id: "String", name: "String" } }]);
  assert.equal(header.numAddressedTiles, done.json.tiles - done.json.empty);
  let found = 0;
  for (let z = 0; z <= 4; z++)
    for (let x = 0; x < 2 ** z; x++)
      for (let y = 0; y < 2 ** z; y++) {
        const ours = await archive.getZxy(z, x, y);
        if (!ours) continue;
        found++;
        assert.ok(Buffer.from(ours.data).equals(await tile("World_Countries", z, x, y, "mvt")), `${z}/${x}/${y}`);
      }
  assert.equal(found, header.numAddressedTiles);
  assert.equal(await archive.getZxy(4, 0, 0), undefined, "outside the bounds there is none");
});

test("PMTiles of pictures, parameters, and another seed of the same is the same file", async () => {
  const args = ["Landsat_NDVI", "low=0.1", "--bounds=-35,-8.1,-34.8,-7.9", "--zooms", "10-12", "--format", "webp", "--output"];
  const a = join(out, "a.pmtiles"), b = join(out, "b.pmtiles");
  assert.equal(seed(...args, a).code, 0);
  assert.equal(seed(...args, b).code, 0);
  assert.ok(readFileSync(a).equals(readFileSync(b)));
  const archive = open(a), header = await archive.getHeader();
  assert.deepEqual([header.tileType, header.tileCompression], [4, 1]);
  const wanted = await request(server, { path: "/UDF_Landsat_NDVI/run/tiles/12/1651/2138.webp?low=0.1" });
  assert.ok(Buffer.from((await archive.getZxy(12, 1651, 2138)).data).equals(wanted.body));
  assert.ok(!existsSync(`${a}.part`) && !existsSync(`${a}.new`));
});

test("MBTiles is read by GDAL, pictures and vectors", async () => {
  const path = join(out, "ndvi.mbtiles"), vectors = join(out, "countries.mbtiles"), want = join(out, "want.png"), got = join(out, "got.png");
  assert.equal(seed("Landsat_NDVI", "--bounds=-35.1,-8.2,-34.7,-7.8", "--zooms", "12", "--output", path).code, 0);
  const info = JSON.parse(execFileSync("gdalinfo", ["-json", path], { encoding: "utf8" }));
  assert.equal(info.driverShortName, "MBTiles");
  assert.equal(info.metadata[""].name, "Landsat_NDVI");
  const side = 2 * 20037508.342789244 / 4096, x = -20037508.342789244 + 1651 * side, y = 20037508.342789244 - 2138 * side;
  execFileSync("gdal_translate", ["-q", "-of", "PNG", "-projwin", x, y, x + side, y - side, path, got].map(String));
  writeFileSync(want, await tile("Landsat_NDVI", 12, 1651, 2138, "png"));
  const sums = (name) => {
    execFileSync("gdal_translate", ["-q", "-expand", "rgba", "-of", "GTiff", name, `${name}.tif`], { stdio: "ignore" });
    return execFileSync("gdalinfo", ["-checksum", `${name}.tif`], { encoding: "utf8" }).match(/Checksum=\d+/g);
  };
  const plain = (name) => execFileSync("gdalinfo", ["-checksum", name], { encoding: "utf8" }).match(/Checksum=\d+/g);
  assert.deepEqual(plain(got), JSON.parse(execFileSync("gdalinfo", ["-json", want], { encoding: "utf8" })).bands.length === 1 ? sums(want) : plain(want));
  assert.equal(seed("World_Countries", "--bounds=-20,35,30,60", "--zooms", "0-3", "--output", vectors).code, 0);
  const layers = execFileSync("ogrinfo", ["-ro", "-al", "-so", vectors], { encoding: "utf8" });
  assert.match(layers, /Layer name: udf/);
  assert.match(layers, /name: String/);
  assert.ok(Number(layers.match(/Feature Count: (\d+)/)[1]) > 20);
});

test("a seed that is interrupted or killed goes on where it was, and makes the same file", async () => {
  const whole = join(out, "whole.pmtiles"), cut = join(out, "cut.pmtiles"), args = ["Slow", "--bounds=-170,-80,170,80", "--zooms", "0-4"];
  const slow = join(dir, "Slow");
  args[0] = slow;
  assert.equal(seed(...args, "--output", whole).code, 0);
  let most = 0;
  for (const [signal, code] of [["SIGINT", 130], ["SIGKILL", "SIGKILL"]]) {
    const child = spawn(program, ["seed", ...args, "--output", cut], { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (bytes) => { said += bytes; });
    const ended = new Promise((resolve) => child.on("exit", (status, by) => resolve(status ?? by)));
    const before = existsSync(`${cut}.part`) ? statSync(`${cut}.part`).size : 0;
    await until(() => existsSync(`${cut}.part`) && statSync(`${cut}.part`).size > before + 2000, "some tiles");
    child.kill(signal);
    assert.equal(await ended, code);
    if (signal === "SIGINT") assert.match(said, /goes on from there/);
    assert.ok(!existsSync(cut), "no archive before it is whole");
    most = statSync(`${cut}.part`).size;
  }
  truncateSync(`${cut}.part`, most - 3);
  const other = seed(slow, "n=2", ...args.slice(1), "--output", cut);
  assert.equal(other.code, 1);
  assert.match(other.err, /begun with other code, parameters or format/);
  const rest = seed(...args, "--output", cut);
  assert.equal(rest.code, 0, rest.err);
  assert.ok(rest.json.resumed > 5 && rest.json.run < rest.json.tiles, rest.out);
  assert.ok(readFileSync(whole).equals(readFileSync(cut)));
});

test("bounds and zooms of meta.json, and the cache of the data directory", async () => {
  const first = seed(join(dir, "Slow"));
  assert.deepEqual([first.code, first.json.tiles, first.json.run], [0, 1 + 4 + 4 + 4, 13]);
});

for (const [args, what] of [
  [["World_Countries", "--zooms", "3", "--output", "x.pmtiles"], /--bounds/], [["World_Countries", "--bounds=1,2,3,4"], /--zooms/],
  [["World_Countries", "--bounds=3,2,1,4", "--zooms", "3"], /--bounds 3,2,1,4/], [["World_Countries", "--bounds=1,2,3", "--zooms", "3"], /--bounds/],
  [["World_Countries", "--bounds=1,2,3,4", "--zooms", "5-3"], /--zooms 5-3/], [["World_Countries", "--bounds=1,2,3,4", "--zooms", "25"], /--zooms 25/],
  [["World_Countries", "--bounds=1,2,3,4", "--zooms", "3x"], /--zooms 3x/], [["World_Countries", "--bounds=1,2,3,4", "--zooms", "3", "--output", "x.zip"], /\.pmtiles or \.mbtiles/],
  [["World_Countries", "--bounds=1,2,3,4", "--zooms", "3", "--format", "csv"], /mvt, png, jpg or webp/], [["Nobody", "--bounds=1,2,3,4", "--zooms", "3"], /Nobody is neither/],
  [["World_Countries", "what=1", "--bounds=1,2,3,4", "--zooms", "3"], /tile 3\/4\/3: .*what/s]])
  test(`a mistake is named: ${args.join(" ")}`, () => {
    const done = seed(...args);
    assert.equal(done.code, 1);
    assert.match(done.err, what);
  });

test("a tile that fails ends the seed and names the tile; what is done stays", () => {
  const path = join(out, "breaks.pmtiles"), done = seed(join(dir, "Breaks"), "--bounds=-10,-10,10,10", "--zooms", "0-3", "--format", "mvt", "--output", path);
  assert.equal(done.code, 1);
  assert.match(done.err, /tile 2\/\d\/\d: .*no more/);
  assert.ok(existsSync(`${path}.part`) && !existsSync(path));
});
