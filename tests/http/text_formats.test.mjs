// Text formats and vector tiles read back by readers that are not ours: DuckDB's sniffer (csv), saxes (xml, svg, html is
// scanned), GDAL (geojson), @mapbox/vector-tile with the valid tiles of @mapbox/mvt-fixtures sent through our encoder.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SaxesParser } from "saxes";
import { DuckDBInstance } from "@duckdb/node-api";
import { VectorTile } from "@mapbox/vector-tile";
import * as fixtures from "@mapbox/mvt-fixtures";
import Pbf from "pbf";
import { folder, request, serve, writeUdf } from "../lib/server.mjs";

const work = folder(), dir = folder();
writeUdf(dir, "Feed", `local moon = require "moon"
return moon.udf(function(json) return moon.table.from_geojson(json) end, { json = moon.type.string })`);
writeUdf(dir, "Feed_Tile", `local moon = require "moon"
return moon.udf(function(bounds, json) return moon.table.from_geojson(json) end, { bounds = moon.type.tile, json = moon.type.string })`);
writeUdf(dir, "Page", `local moon = require "moon"
return moon.udf(function() return "<p>as <b>it</b> is</p>" end, {})`);

let server;
before(async () => {
  server = await serve([dir]);
  await server.ready();
});
after(() => server.stop());

const texts = ["plain", "", "a,b;c\td|e", 'say "hi"', "two\nlines", "two\r\nlines", " edges ", "=1+1", "-5", "0012", "true", "NULL",
  "<b>&amp;</b>", "]]>", "\u{1F600}", "\u05E9\u05DC\u05D5\u05DD", "2024-01-01", "'quoted'", "back\\slash", "\u0001\u001F\u007F"];
const numbers = [0, -0.5, 1e-7, 1e21, 2 ** 53, 0.1 + 0.2, 1 / 3, -1e300, 5e-324, 123456.789];
const collection = (features) => ({ type: "FeatureCollection", features });
const feature = (properties, geometry) => ({ type: "Feature", properties, geometry });
const point = (x, y) => ({ type: "Point", coordinates: [x, y] });
const rows = collection(texts.map((text, i) => feature({ i, text, "odd <name> & \"more\"": numbers[i % numbers.length] }, point(i, -i / 8))));

const get = async (json, format, query = "") => {
  const answer = await request(server, { path: `/${server.udfs.Feed}.${format}?json=${encodeURIComponent(JSON.stringify(json))}${query}` });
  assert.equal(answer.status, 200, answer.text.slice(0, 300));
  return answer;
};

/** Text of each element by its path, as a strict parser has it. */
function parse(text) {
  const parser = new SaxesParser({ xmlns: true }), path = [], found = [];
  parser.on("error", (error) => { throw error; });
  parser.on("opentag", ({ name, attributes }) => {
    const attribute = Object.fromEntries(Object.entries(attributes).map(([key, { value }]) => [key, value]));
    path.push({ name, text: "", attributes: attribute });
  });
  parser.on("text", (part) => { if (path.length) path.at(-1).text += part; });
  parser.on("closetag", () => { found.push(path.pop()); });
  parser.write(text).close();
  return found;
}

for (const [delimiter, letter] of [["comma", ","], ["semicolon", ";"], ["tab", "\t"], ["pipe", "|"]])
  test(`csv (${delimiter}): DuckDB's sniffer finds the same text`, async () => {
    const file = join(work, `${delimiter}.csv`), { body } = await get(rows, "csv", `&csv.delimiter=${delimiter}&csv.bom=true`);
    writeFileSync(file, body);
    const instance = await DuckDBInstance.create(":memory:"), connection = await instance.connect();
    const sniffed = (await connection.runAndReadAll(`select Delimiter, HasHeader from sniff_csv('${file}')`)).getRows();
    assert.deepEqual(sniffed, [[letter, true]]);
    const read = (await connection.runAndReadAll(`select * from read_csv('${file}', all_varchar = true)`)).getRowObjects();
    assert.equal(read.length, texts.length);
    const name = 'odd <name> & "more"';
    for (const [i, row] of read.entries()) {
      assert.equal(row.text ?? "", texts[i], `row ${i}`);
      assert.equal(Number(row.i), i);
      assert.equal(Number(row[name]), numbers[i % numbers.length], `row ${i}: ${row[name]}`);
      assert.match(row.geometry, /^POINT/);
    }
  });

test("csv.safe makes text of formulas and leaves numbers alone; columns by name, an unknown one is 422", async () => {
  const lines = (await get(collection([feature({ a: "=1+1", b: -5, c: "@x" }, null)]), "csv", "&csv.safe=true&csv.columns=c,b,a")).text.split("\r\n");
  assert.deepEqual(lines.slice(0, 2), ["c,b,a", `"'@x",-5,"'=1+1"`]);
  const answer = await request(server, { path: `/${server.udfs.Feed}.csv?csv.columns=zz&json=${encodeURIComponent(JSON.stringify(rows))}` });
  assert.equal(answer.status, 422, answer.text.slice(0, 200));
  assert.match(answer.text, /csv\.columns.*zz/);
});

test("xml: a strict parser finds each text and each name", async () => {
  const answer = await get(rows, "xml");
  assert.match(answer.headers["content-type"], /^application\/xml/);
  const found = parse(answer.text);
  const expected = texts.map((text) => text.replace(/[\u0000-\u0008\u000B\u000C\u000E-\u001F]/g, "\uFFFD"));
  assert.deepEqual(found.filter(({ name }) => name === "text").map(({ text }) => text), expected);
  const odd = found.filter(({ attributes }) => attributes.name === 'odd <name> & "more"');
  assert.deepEqual(odd.map(({ text }) => Number(text)), texts.map((_, i) => numbers[i % numbers.length]));
  assert.equal(found.filter(({ name }) => name === "row").length, texts.length);
});

test("svg: a strict parser finds a path for each feature; a title for each text", async () => {
  const answer = await get(rows, "svg", "&svg.title=text&svg.width=400&svg.fill=rgb(1,2,3)");
  assert.match(answer.headers["content-type"], /^image\/svg\+xml/);
  const found = parse(answer.text);
  assert.equal(found.filter(({ name }) => name === "path").length, texts.length);
  assert.deepEqual(found.filter(({ name }) => name === "title").map(({ text }) => text.slice(0, 5))[12], "<b>&a");
  assert.equal(found.at(-1).attributes.width, "400");
});

test("json and geojson: all text and numbers come back; GDAL counts the features", async () => {
  const records = (await get(rows, "json")).json, { features } = (await get(rows, "geojson")).json;
  assert.deepEqual(records.map(({ text }) => text), texts);
  assert.deepEqual(features.map(({ properties }) => properties), rows.features.map(({ properties }) => properties));
  const split = (await get(rows, "json", "&json.orient=split&json.columns=text,i")).json;
  assert.deepEqual(split, { columns: ["text", "i"], data: texts.map((text, i) => [text, i]) });
  const file = join(work, "rows.geojson");
  writeFileSync(file, (await get(rows, "geojson")).body);
  assert.match(execFileSync("ogrinfo", ["-ro", "-so", "-al", file], { encoding: "utf8" }), new RegExp(`Feature Count: ${texts.length}`));
});

test("geojson: cut at the antimeridian, its box goes around it", async () => {
  const ring = [[170, -10], [190, -10], [190, 10], [170, 10], [170, -10]];
  const { features: [{ geometry, bbox }] } = (await get(collection([feature({}, { type: "Polygon", coordinates: [ring] })]), "geojson", "&geojson.bbox=true")).json;
  assert.deepEqual(bbox, [170, -10, -170, 10]);
  assert.equal(geometry.type, "MultiPolygon");
});

test("html: a page passes through, a table is a page without foreign markup", async () => {
  const page = await request(server, { path: `/${server.udfs.Page}/run` });
  assert.equal(page.text, "<p>as <b>it</b> is</p>");
  const { text } = await get(rows, "html", "&html.columns=text");
  assert.equal(text.match(/<td/g).length, texts.length);
  assert.doesNotMatch(text, /<td[^>]*><b>/);
});

// Pbf reads floats at the start of a shared pool when it is given a Buffer: it gets copies.
const rings = (tile) => Object.fromEntries(Object.entries(tile.layers).map(([name, layer]) => [name, Array.from({ length: layer.length }, (_, i) => {
  const one = layer.feature(i);
  return { id: one.id, type: one.type, properties: { ...one.properties }, geometry: one.loadGeometry().map((line) => line.map(({ x, y }) => `${x},${y}`)) };
})]));
/** Rings begin where they like. */
const turned = (line, type) => {
  if (type !== 3) return line;
  const open = line.slice(0, -1), first = open.indexOf([...open].sort()[0]);
  return [...open.slice(first), ...open.slice(0, first)];
};

test("mvt: valid tiles of @mapbox/mvt-fixtures go through our encoder and come back as they were", async () => {
  const compared = [], left = [];
  const all = [];
  fixtures.each((fixture) => all.push(fixture));
  for (const fixture of all.filter(({ validity }) => validity.v2)) {
    const tile = new VectorTile(new Pbf(Uint8Array.from(fixture.buffer)));
    for (const [name, wanted] of Object.entries(rings(tile))) {
      const layer = tile.layers[name];
      for (const [i, one] of wanted.entries()) {
        const unfit = one.type === 0 ? "unknown type" : one.geometry.flat().length === 0 ? "no geometry"
          : layer.extent < 256 || layer.extent > 8192 ? `extent ${layer.extent}`
          : layer.feature(i).loadGeometry().flat().some(({ x, y }) => Math.min(x, y) < -1024 || Math.max(x, y) > layer.extent + 1024) ? "outside" : null;
        if (unfit) { left.push(`${fixture.id}: ${unfit}`); continue; }
        const json = collection([layer.feature(i).toGeoJSON(0, 0, 0)]);
        delete json.features[0].id;
        const answer = await request(server, { path: `/${server.udfs.Feed_Tile}/run/tiles/0/0/0.mvt?mvt.simplify=0&mvt.buffer=1024&mvt.extent=${layer.extent}&json=${encodeURIComponent(JSON.stringify(json))}` });
        assert.equal(answer.status, 200, `${fixture.id}: ${answer.text.slice(0, 200)}`);
        const got = rings(new VectorTile(new Pbf(Uint8Array.from(answer.body)))).udf?.[0];
        assert.ok(got, `${fixture.id}: ${fixture.description}: nothing came back`);
        assert.equal(got.type, one.type, fixture.id);
        assert.deepEqual(got.geometry.map((line) => turned(line, one.type)), one.geometry.map((line) => turned(line, one.type)), `${fixture.id}: ${fixture.description}`);
        for (const [key, value] of Object.entries(one.properties))
          assert.equal(got.properties[key], value, `${fixture.id}: ${key}`);
        compared.push(fixture.id);
      }
    }
  }
  assert.ok(compared.length >= 30, `${compared.length} features compared; left out: ${left.join(", ")}`);
});
