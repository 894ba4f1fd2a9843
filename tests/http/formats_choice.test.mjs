// Which format an answer has: design section 4 as data. Extension, format, dtype_out_…, Accept, then the kind of the value;
// named results and their zips, read by yauzl; /formats; what is refused, and what the refusal says.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { promisify } from "node:util";
import yauzl from "yauzl";
import { PNG } from "pngjs";
import { cli, folder, request, serve, writeUdf } from "../lib/server.mjs";

const dir = folder();
const udf = (body, parameters = "") => `local moon = require "moon"
local points = moon.table { { name = "a", n = 1, geometry = moon.point(1, 2) }, { name = "b", n = 2, geometry = moon.point(3, 4) } }
local rows = moon.table { { a = 1, b = "x" } }
local picture = function() return moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 3, 2, 1 }, size = { 32, 32 } }) end
return moon.udf(function(${parameters || "..."}) ${body} end, {${parameters === "bounds" ? "bounds = moon.type.bounds" : ""}})`;
writeUdf(dir, "Raster", udf("return picture()"));
writeUdf(dir, "Six", udf('return moon.read_raster("fd://L7_ETMs.tif", nil, { size = { 16, 16 } })'));
writeUdf(dir, "Points", udf("return points"));
writeUdf(dir, "Rows", udf("return rows"));
writeUdf(dir, "Page", udf('return "<h1>Hi</h1>"'));
writeUdf(dir, "Plain", udf("return { a = 1 }"));
writeUdf(dir, "Number", udf("return 7"));
writeUdf(dir, "Nothing", udf("return nil"));
writeUdf(dir, "Two", udf("return { points = points, rows = rows }"));
writeUdf(dir, "Layers", udf("return { a = points, b = points }"));
writeUdf(dir, "Mixed", udf('return { points = points, picture = picture(), page = "<p>x", plain = { a = 1 }, place = moon.point(5, 6) }'));
writeUdf(dir, "Odd", udf('return { ["../up"] = rows, ["Süd/ß"] = rows, ["süd_ß"] = rows }'));
writeUdf(dir, "Huge", udf('return { a = rows, b = string.rep("x", 3e6) }'));
writeUdf(dir, "HugeText", udf('return string.rep("x", 3e6)'));
writeUdf(dir, "Encoded", udf('return moon.response(moon.encode(points, "csv", { bom = true }), "text/csv")'));

let server;
before(async () => {
  server = await serve(["--max-result", "2", dir]);
  await server.ready();
});
after(() => server.stop());

const get = (name, rest = "/run", accept, options = {}) =>
  request(server, { path: `/${server.udfs[name]}${rest}`, headers: accept ? { accept } : {}, ...options });

const openZip = promisify((body, options, done) => yauzl.fromBuffer(body, options, done));
/** The members of a zip as yauzl sees them: { name: Buffer }. */
async function unzip(body) {
  const zip = await openZip(body, { lazyEntries: true, strictFileNames: true });
  const members = {};
  await new Promise((resolve, reject) => {
    zip.on("entry", (entry) => zip.openReadStream(entry, (error, stream) => {
      if (error) return reject(error);
      const parts = [];
      stream.on("data", (part) => parts.push(part));
      stream.on("error", reject);
      stream.on("end", () => { members[entry.fileName] = Buffer.concat(parts); zip.readEntry(); });
    }));
    zip.on("end", resolve);
    zip.on("error", reject);
    zip.readEntry();
  });
  return members;
}

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";
// UDF, rest of the URL, Accept, content type (start), Vary on Accept, the sentence.
const chosen = [
  ["Raster", "/run", null, "image/png", true, "a raster is png"],
  ["Points", "/run", null, "application/geo+json", true, "a table with geometry is geojson"],
  ["Rows", "/run", null, "application/json", true, "a table without is json"],
  ["Page", "/run", null, "text/html; charset=utf-8", true, "a string is html"],
  ["Plain", "/run", null, "application/json", true, "plain values are json"],
  ["Number", "/run", null, "application/json", true, "a number too"],
  ["Two", "/run", null, "application/zip", true, "named tables of a file are a zip"],
  ["Layers", "/run/tiles/0/0/0", null, "application/vnd.mapbox-vector-tile", true, "of a tile the layers of one mvt"],
  ["Two", "/run/tiles/0/0/0", null, "application/zip", true, "unless one has no geometry"],
  ["Mixed", "/run/tiles/0/0/0", null, "application/zip", true, "a table and a raster of a tile are a zip"],
  ["Raster", ".webp", null, "image/webp", false, "an extension"],
  ["Raster", ".WEBP", null, "image/webp", false, "in any case"],
  ["Raster", ".jpeg", null, "image/jpeg", false, "an alias"],
  ["Raster", ".tiff", null, "image/tiff", false, "another"],
  ["Raster", "/run?format=tif", null, "image/tiff", false, "format"],
  ["Raster", ".png?format=tif", null, "image/png", false, "the extension counts before format"],
  ["Points", "/run?format=png,csv,geojson", null, "text/csv; charset=utf-8", false, "the first of the list that holds the value"],
  ["Raster", "/run?format=csv,webp", null, "image/webp", false, "for a raster another one"],
  ["Points", "/run?format=csv&dtype_out_vector=geojson", null, "text/csv", false, "format counts before dtype_out"],
  ["Points", "/run?dtype_out_vector=csv&dtype_out_raster=webp", null, "text/csv", false, "the value's kind decides: a table"],
  ["Raster", "/run?dtype_out_vector=csv&dtype_out_raster=webp", null, "image/webp", false, "the value's kind decides: a raster"],
  ["Page", "/run?dtype_out_vector=csv&dtype_out_raster=webp", null, "text/html", true, "a page takes neither"],
  ["Raster", "/run?dtype_out_vector=csv", null, "image/png", true, "the other kind's is ignored"],
  ["Points", "/run?dtype_out_raster=png", null, "application/geo+json", true, "and the other way round"],
  ["Points", "/run", "text/csv", "text/csv", true, "Accept"],
  ["Points", "/run", "application/json;q=0.5, text/csv", "text/csv", true, "by its weights"],
  ["Points", "/run", "image/png, text/csv;q=0.1", "text/csv", true, "what does not fit is passed over"],
  ["Points", "/run", "video/mp4, */*", "application/geo+json", true, "what is not ours does not count"],
  ["Raster", "/run", "image/*", "image/png", true, "nor does a range"],
  ["Points", "/run", "text/csv;q=0", "application/geo+json", true, "q=0 does not ask for it"],
  ["Points", "/run?format=geojson", "text/csv", "application/geo+json", false, "format counts before Accept"],
  ["Points", "/run?dtype_out_vector=geojson", "text/csv", "application/geo+json", false, "so does dtype_out"],
  ["Points", "/run", browser, "text/html; charset=utf-8", true, "a browser gets a table to look at"],
  ["Raster", "/run", browser, "image/webp", true, "and an image"],
  ["Points", ".tsv", null, "text/tab-separated-values; charset=utf-8", false, "charset of text"],
  ["Raster", "/run/tiles/0/0/0.webp", null, "image/webp", false, "the extension of a tile"],
  ["Points", "/run/tiles/0/0/0.pbf", null, "application/vnd.mapbox-vector-tile", false, "an alias of mvt"],
  ["Nothing", "/run/tiles/0/0/0?dtype_out_vector=mvt&dtype_out_raster=webp", null, "image/webp", false, "nothing: raster when both are asked"],
  ["Nothing", "/run/tiles/0/0/0?format=mvt", null, "application/vnd.mapbox-vector-tile", false, "nothing as mvt"],
  ["Nothing", "/run/tiles/0/0/0.zip", null, "application/zip", false, "nothing as zip"],
  ["Six", "/run?format=png,tif", null, "image/tiff", false, "six bands are no png"],
  ["Two", "/run?format=csv", null, "application/zip", false, "a zip of csv"],
  ["Two", "/run", "text/csv", "application/zip", true, "Accept of the members"],
];
for (const [name, rest, accept, type, vary, sentence] of chosen)
  test(`${name}${rest}${accept ? ` Accept: ${accept.slice(0, 40)}` : ""}: ${sentence}`, async () => {
    const answer = await get(name, rest, accept);
    assert.equal(answer.status, 200, answer.text.slice(0, 300));
    assert.ok(answer.headers["content-type"].startsWith(type), answer.headers["content-type"]);
    assert.equal(/\bAccept\b(?!-)/.test(answer.headers.vary ?? ""), vary, `Vary: ${answer.headers.vary}`);
  });

// UDF, rest, status, what the message says, what it does not.
const refused = [
  ["Points", ".png", 406, /png cannot hold a table; these can: .*geojson.*csv/, /webp|jpg/, "lists those that can"],
  ["Raster", ".csv", 406, /csv cannot hold a raster; these can: png.*tif/, /geojson/, "of the raster's kind"],
  ["Page", "?format=png,csv", 406, /cannot hold a page \(a string\); these can: html/, /geojson/, "of a page"],
  ["Raster", "?dtype_out_raster=csv", 406, /csv cannot hold a raster/, null, "by dtype_out"],
  ["Points", ".mvt", 406, /mvt is the format of a tile: ask for …\/run\/tiles/, null, "mvt of a file"],
  ["Rows", "/run/tiles/0/0/0.mvt", 406, /mvt cannot hold a table without geometry/, null, "mvt without geometry"],
  ["Six", ".png", 406, /png holds at most 4 bands and the raster has 6: .*tif/, null, "too many bands"],
  ["Points", ".zip", 406, /zip cannot hold a table/, null, "one table is no zip"],
  ["Mixed", ".csv", 406, /result "page": csv cannot hold a page/, null, "a member without a format is named"],
  ["Raster", ".docx", 422, /there is no format "docx"; there are png,/, null, "an unknown extension"],
  ["Raster", "?format=png,docx", 422, /format: there is no format "docx"/, null, "an unknown format"],
  ["Raster", "?dtype_out_raster=docx", 422, /dtype_out_raster: there is no format "docx"/, null, "an unknown dtype_out"],
  ["Raster", "?jpg.quality=0", 422, /jpg\.quality is "0", expected an integer from 1 to 100/, null, "an option out of its range"],
  ["Raster", ".jpg?jpg.quality=high", 422, /jpg\.quality is "high", expected an integer from 1 to 100/, null, "of the wrong type"],
  ["Raster", "?jpg.qualty=80", 422, /jpg has no option "qualty"; its options: quality/, null, "an unknown option names the known"],
  ["Points", ".csv?csv.bom=perhaps", 422, /csv\.bom is "perhaps", expected true or false/, null, "no boolean"],
  ["Points", ".csv?csv.delimiter=dash", 422, /expected one of comma,semicolon,tab,pipe/, null, "none of a list"],
  ["Raster", ".png?png.min=5&png.max=5", 422, /png\.min \(5\) must be below png\.max \(5\)/, null, "two that do not fit together"],
  ["Huge", "", 500, /limit of 2097152 bytes/, null, "a member over the limit"],
  ["HugeText", "", 500, /larger than the limit of 2097152 bytes \(\d+ (and more )?were needed\)/, null, "both sizes"],
];
for (const [name, rest, status, says, never, sentence] of refused)
  test(`${name}${rest} is ${status}: ${sentence}`, async () => {
    const answer = await get(name, rest.startsWith("?") || rest === "" ? `/run${rest}` : rest);
    assert.equal(answer.status, status, answer.text.slice(0, 300));
    assert.match(answer.json.error.message, says);
    if (never) assert.doesNotMatch(answer.json.error.message, never);
    assert.equal(answer.json.error.code, { 406: "not_acceptable", 422: "parameter", 500: "udf_output" }[status]);
  });

test("a file name for downloads; none on tiles", async () => {
  for (const [name, rest, file] of [["Two", "/run", "Two.zip"], ["Points", ".csv", "Points.csv"], ["Raster", ".jpeg", "Raster.jpg"],
    ["Rows", "/run", "Rows.json"]])
    assert.match((await get(name, rest)).headers["content-disposition"], new RegExp(`filename="${file.replace(".", "\\.")}"`));
  assert.equal((await get("Raster", "/run/tiles/0/0/0.png")).headers["content-disposition"], undefined);
});

test("a zip of everything, each in its own format", async () => {
  const answer = await get("Mixed");
  const members = await unzip(answer.body);
  assert.deepEqual(Object.keys(members).sort(), ["page.html", "picture.png", "place.geojson", "plain.json", "points.geojson"]);
  assert.equal(PNG.sync.read(members["picture.png"]).width, 32);
  assert.equal(JSON.parse(members["points.geojson"]).features.length, 2);
  assert.deepEqual(JSON.parse(members["place.geojson"]).features[0].geometry.coordinates, [5, 6]);
  assert.deepEqual(JSON.parse(members["plain.json"]), { a: 1 });
  assert.match(members["page.html"].toString(), /<p>x/);
  const again = await get("Mixed", "/run?cache_max_age=0");
  assert.deepEqual(again.body, answer.body, "the same bytes each time");
  assert.equal(again.headers.etag, answer.headers.etag);
});

test("wishes and options reach the members", async () => {
  const csv = await unzip((await get("Two", "/run?format=csv&csv.delimiter=semicolon&csv.bom=1")).body);
  assert.deepEqual(Object.keys(csv).sort(), ["points.csv", "rows.csv"]);
  assert.equal(csv["rows.csv"].toString("utf8"), "\ufeffa;b\r\n1;x\r\n");
  const each = await unzip((await get("Mixed", "/run?dtype_out_vector=tsv&dtype_out_raster=jpg&jpg.quality=20")).body);
  assert.deepEqual(Object.keys(each).sort(), ["page.html", "picture.jpg", "place.tsv", "plain.json", "points.tsv"]);
  const fine = await unzip((await get("Mixed", "/run?dtype_out_vector=tsv&dtype_out_raster=jpg&jpg.quality=99")).body);
  assert.ok(fine["picture.jpg"].length > each["picture.jpg"].length);
  const list = await unzip((await get("Mixed", "/run?format=zip,csv,webp,html,json")).body);
  assert.deepEqual(Object.keys(list).sort(), ["page.html", "picture.webp", "place.csv", "plain.json", "points.csv"]);
});

test("names of members can be unpacked anywhere, and are apart", async () => {
  assert.deepEqual(Object.keys(await unzip((await get("Odd")).body)).sort(), ["Süd_ß.json", "_._up.json", "süd_ß-2.json"].sort());
});

test("moon.encode gives what the URL would give", async () => {
  assert.deepEqual((await get("Encoded")).body, (await get("Points", ".csv?csv.bom=1")).body);
});

test("/formats: JSON, a page for a browser, and the same list on the command line", async () => {
  const json = await request(server, { path: "/formats" });
  assert.equal(json.headers["content-type"], "application/json; charset=utf-8");
  assert.match(json.headers.vary, /Accept/);
  assert.deepEqual(json.json, cli(["formats", "--json"]).json);
  for (const { name, aliases, mime, kinds, extension, options } of json.json.formats) {
    assert.ok(name && mime.includes("/") && kinds.length && extension && Array.isArray(aliases), name);
    if (mime.startsWith("text/")) assert.match(mime, /charset=utf-8/);
    for (const option of options) {
      assert.ok(option.name.startsWith(`${name}.`) && option.help.length > 4, option.name);
      assert.ok(["integer", "number", "boolean", "enum", "string"].includes(option.type));
      if (option.type === "enum") assert.ok(option.default === null || option.values.includes(option.default), option.name);
      if ("min" in option && option.default !== null) assert.ok(option.default >= option.min && option.default <= option.max, option.name);
    }
  }
  const page = await request(server, { path: "/formats", headers: { accept: browser } });
  assert.equal(page.headers["content-type"], "text/html; charset=utf-8");
  for (const { name, options } of json.json.formats) {
    assert.ok(page.text.includes(`id="${name}"`), name);
    for (const option of options) assert.ok(page.text.includes(option.name), option.name);
  }
  assert.equal((await request(server, { path: "/formats?format=html" })).headers["content-type"], "text/html; charset=utf-8");
  assert.equal((await request(server, { path: "/formats?format=pdf" })).status, 422);
  assert.equal((await request(server, { path: "/formats", method: "POST" })).status, 405);
});

test("each option's default, spelt out, changes nothing", async () => {
  const { formats } = (await request(server, { path: "/formats" })).json;
  const udfOf = { raster: "Raster", table: "Points", page: "Page", "plain values": "Plain", "named results": "Two" };
  let n = 0;
  for (const { name, kinds, options, tiles_only: tiles } of formats) {
    const udf = udfOf[kinds.find((kind) => udfOf[kind])], base = tiles ? `/run/tiles/0/0/0.${name}` : `.${name}`;
    if (!udf) continue;
    const plain = await get(udf, base);
    assert.equal(plain.status, 200, `${name}: ${plain.text.slice(0, 200)}`);
    const query = options.filter((o) => o.default !== null).map((o) => `${o.name}=${encodeURIComponent(o.default)}`).join("&");
    if (!query) continue;
    const spelt = await get(udf, `${base}?${query}`);
    assert.equal(spelt.status, 200, `${name}?${query}: ${spelt.text.slice(0, 300)}`);
    // Formats that carry the time of writing are compared by length.
    if (["excel", "gpkg"].includes(name)) assert.ok(Math.abs(spelt.body.length - plain.body.length) < 64, name);
    else assert.deepEqual(spelt.body, plain.body, `${name}?${query}`);
    n++;
  }
  assert.ok(n >= 8, `${n} formats`);
});
