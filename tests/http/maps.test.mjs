// TileJSON and WMTS: what they say of a UDF's tiles, and that the URLs in them give those tiles. Capabilities are read
// by a parser of XML and by GDAL's WMTS driver, vector tiles by Mapbox's reader.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import saxes from "saxes";
import { build, folder, request, serve, writeUdf } from "../lib/server.mjs";

const dir = folder();
const meta = (name, type, own) => JSON.stringify({ version: "0.0.3", job_config: { version: "0.0.3", name, metadata: {}, steps: [{
  type: "udf", udf: { type: "lua", name, entrypoint: "udf", parameters: {}, metadata: { "fused:udfType": type, ...own },
    source: `${name}.lua`, headers: [] } }] } });
writeUdf(dir, "Two", `local moon = require "moon"
return moon.udf(function(bounds, n)
  local points = {}
  for i = 1, n do points[i] = { size = i, label = "p" .. i, big = i > 1, geometry = moon.point(10 + i / 100, 50) } end
  local some = moon.table({ { what = 1.5, geometry = moon.point(10, 50) } })
  return { points = moon.table(points), some = some }
end, { bounds = moon.type.tile, n = 3 })`, { "meta.json": meta("Two", "vector_tile", { "moongate:bounds": [9.9, 49.9, 10.2, 50.1], "moongate:zooms": [3, 14] }) });
writeUdf(dir, "Fails", `local moon = require "moon"
return moon.udf(function(bounds) error("no") end, { bounds = moon.type.tile })`, { "meta.json": meta("Fails", "vector_tile", {}) });
writeUdf(dir, "Told", `local moon = require "moon"
return moon.udf(function(bounds) error("not asked") end, { bounds = moon.type.tile })`,
{ "meta.json": meta("Told", "vector_tile", { "moongate:fields": { height: "Number" }, "fused:description": "a <b> & \"c\"" }) });

let server, scene;
before(async () => {
  server = await serve([dir, join(build, "share/data/L7_ETMs.tif")]);
  await server.ready();
  scene = server.udfs.L7_ETMs;
});
after(() => server.stop());
const get = async (path) => { const a = await request(server, { path }); a.path = path; return a; };
const local = (url) => url.slice(server.url.length);

test("TileJSON of a served raster has its own bounds and native zoom", async () => {
  const { json } = await get(`/${scene}/tilejson.json`);
  const [w, s, e, n] = json.bounds;
  const info = JSON.parse(execFileSync("gdalinfo", ["-json", join(build, "share/data/L7_ETMs.tif")], { encoding: "utf8" }));
  const ring = info.wgs84Extent.coordinates[0], lng = ring.map((p) => p[0]), lat = ring.map((p) => p[1]);
  for (const [ours, theirs] of [[w, Math.min(...lng)], [e, Math.max(...lng)], [s, Math.min(...lat)], [n, Math.max(...lat)]])
    assert.ok(Math.abs(ours - theirs) < 1e-3, `${json.bounds} beside ${ring}`);
  assert.equal(json.minzoom, 0);
  assert.equal(json.maxzoom, 13, "28.5 m a pixel: zoom 12 has 38 m, 13 has 19 m");
  assert.ok(json.center[0] > w && json.center[0] < e && json.center[1] > s && json.center[1] < n);
});

test("TileJSON of vector tiles names layers and fields with their types", async () => {
  const { json } = await get(`/${server.udfs.Two}/tilejson.json?n=2`);
  assert.deepEqual(json.vector_layers, [
    { id: "points", fields: { size: "Number", label: "String", big: "Boolean" } }, { id: "some", fields: { what: "Number" } }]);
  assert.deepEqual([json.minzoom, json.maxzoom, json.bounds], [3, 14, [9.9, 49.9, 10.2, 50.1]]);
  const tile = await get(local(json.tiles[0]).replace("{z}", 8).replace("{x}", 135).replace("{y}", 86));
  assert.equal(tile.status, 200);
  assert.match(json.tiles[0], /\?n=2$/, "the parameters go along");
});

test("fields of meta.json are taken as they are, without a run", async () => {
  const { json } = await get(`/${server.udfs.Told}/tilejson.json`);
  assert.deepEqual(json.vector_layers, [{ id: "udf", fields: { height: "Number" } }]);
});

test("a UDF that fails has a layer without fields", async () => {
  const { status, json } = await get(`/${server.udfs.Fails}/tilejson.json`);
  assert.deepEqual([status, json.vector_layers], [200, [{ id: "udf", fields: {} }]]);
});

test("tms=1 turns the scheme, and the tile is the same", async () => {
  const { json } = await get(`/${scene}/tilejson.json?tms=1`);
  assert.equal(json.scheme, "tms");
  const south = await get(local(json.tiles[0]).replace("{z}", 12).replace("{x}", 1651).replace("{y}", 4095 - 2138));
  const north = await get(`/${scene}/run/tiles/12/1651/2138.png`);
  assert.equal(south.headers.etag, north.headers.etag);
});

/** Elements of a document as [path, attributes, text], checked for being well-formed. */
function elements(text) {
  const parser = new saxes.SaxesParser({ xmlns: true }), stack = [], found = [];
  parser.on("error", (error) => { throw error; });
  parser.on("opentag", (tag) => { stack.push({ name: tag.local, attributes: Object.fromEntries(Object.values(tag.attributes).map((a) => [a.local, a.value])), text: "" }); });
  parser.on("text", (part) => { if (stack.length) stack.at(-1).text += part; });
  parser.on("closetag", () => { found.push({ path: stack.map((e) => e.name).join("/"), ...stack.at(-1) }); stack.pop(); });
  parser.write(text).close();
  return found;
}
const texts = (list, end) => list.filter((e) => e.path.endsWith(end)).map((e) => e.text);

test("WMTS capabilities are the same by keys and by path, and list the layer's tiles", async () => {
  const paths = ["/wmts", "/wmts?SERVICE=WMTS&REQUEST=GetCapabilities", "/wmts?service=wmts&request=getcapabilities&AcceptVersions=1.0.0,2.0.0", "/wmts/1.0.0/WMTSCapabilities.xml"];
  const bodies = [];
  for (const path of paths) {
    const a = await get(`/${scene}${path}`);
    assert.equal(a.status, 200, path);
    assert.match(a.headers["content-type"], /^application\/xml/);
    bodies.push(a.text);
  }
  assert.equal(new Set(bodies).size, 1);
  const xml = elements(bodies[0]);
  assert.deepEqual(texts(xml, "Layer/Identifier"), ["L7_ETMs"]);
  assert.deepEqual(texts(xml, "Layer/Format"), ["image/png", "image/webp", "image/jpeg"]);
  assert.equal(texts(xml, "TileMatrix/Identifier").length, 14);
  assert.equal(Number(texts(xml, "TileMatrix/ScaleDenominator")[0]).toFixed(4), "559082264.0287");
  const template = xml.find((e) => e.name === "ResourceURL").attributes.template;
  const url = template.replace("{Style}", "default").replace("{TileMatrixSet}", "WebMercatorQuad").replace("{TileMatrix}", 12).replace("{TileRow}", 2138).replace("{TileCol}", 1651);
  const a = await get(local(url)), b = await get(`/${scene}/run/tiles/12/1651/2138.png`);
  assert.deepEqual([a.status, a.headers.etag], [200, b.headers.etag], "the tile is the one of /run/tiles");
});

test("WMTS text is escaped, parameters stand in the URLs", async () => {
  const xml = elements((await get(`/${server.udfs.Told}/wmts?a=%22%3C&b=%271%27&REQUEST=GetCapabilities`)).text);
  assert.deepEqual(texts(xml, "Layer/Abstract"), ['a <b> & "c"']);
  assert.match(xml.find((e) => e.name === "ResourceURL").attributes.template, /\.mvt\?a=%22%3C&b=%271%27$/);
  for (const e of xml.filter((x) => x.path.endsWith("HTTP/Get")))
    assert.match(e.attributes.href, /wmts\?a=%22%3C&b=%271%27&$/);
});

const keys = (over = {}) => new URLSearchParams(Object.entries({ SERVICE: "WMTS", REQUEST: "GetTile", VERSION: "1.0.0", LAYER: "L7_ETMs", STYLE: "default",
  FORMAT: "image/png", TILEMATRIXSET: "WebMercatorQuad", TILEMATRIX: 12, TILEROW: 2138, TILECOL: 1651, ...over }).filter(([, v]) => v !== null));
const faults = [
  [{ LAYER: "Other" }, 400, "InvalidParameterValue", "Layer"], [{ LAYER: null }, 400, "MissingParameterValue", "layer"],
  [{ STYLE: "red" }, 400, "InvalidParameterValue", "Style"], [{ TILEMATRIXSET: "x" }, 400, "InvalidParameterValue", "TileMatrixSet"],
  [{ FORMAT: "image/tiff" }, 400, "InvalidParameterValue", "Format"], [{ FORMAT: "csv" }, 400, "InvalidParameterValue", "Format"],
  [{ TILEMATRIX: 14 }, 400, "InvalidParameterValue", "TileMatrix"], [{ TILEMATRIX: "-1" }, 400, "InvalidParameterValue", "TileMatrix"],
  [{ TILEROW: 0 }, 400, "TileOutOfRange", "TileRow"], [{ TILECOL: 99999999999 }, 400, "TileOutOfRange", "TileCol"], [{ TILECOL: "1e3" }, 400, "TileOutOfRange", "TileCol"],
  [{ REQUEST: "GetFeatureInfo" }, 501, "OperationNotSupported", "Request"], [{ SERVICE: "WMS" }, 400, "InvalidParameterValue", "Service"],
  [{ VERSION: "2.0.0" }, 400, "InvalidParameterValue", "Version"], [{ REQUEST: "GetCapabilities", ACCEPTVERSIONS: "9.0.0" }, 400, "VersionNegotiationFailed", "AcceptVersions"],
];
test("WMTS GetTile by keys, and its exceptions", async () => {
  const good = await get(`/${scene}/wmts?${keys()}`);
  assert.equal(good.headers.etag, (await get(`/${scene}/run/tiles/12/1651/2138.png`)).headers.etag);
  const again = await get(`/${scene}/wmts?${keys({ TILEMATRIX: 13, TILEROW: 4277, TILECOL: 3303 })}`);
  assert.equal(again.headers.etag, (await get(`/${scene}/run/tiles/13/3303/4277.png`)).headers.etag);
  assert.notEqual(again.headers.etag, good.headers.etag, "another place is another tile");
  for (const [over, status, code, locator] of faults) {
    const a = await get(`/${scene}/wmts?${keys(over)}`);
    const e = elements(a.text).find((x) => x.name === "Exception");
    assert.deepEqual([a.status, e?.attributes], [status, { exceptionCode: code, locator }], JSON.stringify(over));
  }
  assert.equal((await get(`/${scene}/wmts/1.0.0`)).status, 404);
  assert.equal((await get("/nobody/wmts")).status, 401);
});

test("GDAL's WMTS driver opens it and reads the pixels of the tiles", async () => {
  const source = `WMTS:${server.url}/${scene}/wmts`, out = join(folder(), "out.png"), file = join(folder(), "tile.png");
  const info = JSON.parse(execFileSync("gdalinfo", ["-json", source], { encoding: "utf8" }));
  assert.match(info.coordinateSystem.wkt, /EPSG",3857/);
  assert.equal(info.driverShortName, "WMTS");
  const side = 2 * 20037508.342789244 / 4096, x = -20037508.342789244 + 1651 * side, y = 20037508.342789244 - 2138 * side;
  execFileSync("gdal_translate", ["-q", "-of", "PNG", "-projwin", x, y, x + side, y - side, "-outsize", 256, 256, source, out].map(String));
  writeFileSync(file, (await get(`/${scene}/run/tiles/12/1651/2138.png`)).body);
  const sums = (name) => [...execFileSync("gdalinfo", ["-checksum", name], { encoding: "utf8" }).matchAll(/Checksum=(\d+)/g)].slice(0, 3).map((m) => m[1]);
  assert.deepEqual(sums(out), sums(file));
});
