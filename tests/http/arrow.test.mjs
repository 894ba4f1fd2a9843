// Tables as Arrow, Excel, FlatGeobuf and GeoPackage out of the sandboxed worker, and random tables of every type out of the
// encoders, read by apache-arrow, exceljs and GDAL's programs.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tableFromIPC, Type } from "apache-arrow";
import ExcelJS from "exceljs";
import { build, folder, request, serve, writeUdf } from "../lib/server.mjs";

const work = folder(), dir = folder(), tables = join(work, "tables");
writeUdf(dir, "Rows", `local moon = require "moon"
return moon.udf(function(...) return moon.table {
  { name = 'say "hi", you', n = 1, x = 0.5, good = true, geometry = moon.point(1, 2) },
  { name = "=1+1", n = -2, x = 1e-7, good = false, geometry = moon.point(-3.25, 4.5) },
  { name = "https://example.org", n = 9007199254740991, geometry = moon.point(179.5, -89) },
} end, {})`);
writeUdf(dir, "Plain", `local moon = require "moon"
return moon.udf(function() return moon.table { { a = 1, b = "x" }, { a = 2, b = "🌙" } } end, {})`);
const names = ['say "hi", you', "=1+1", "https://example.org"];

let server;
before(async () => {
  server = await serve([dir]);
  await server.ready();
  mkdirSync(tables);
  for (const codec of ["feather", "excel"])
    execFileSync(join(build, `codec_test_${codec}`), { env: { ...process.env, MG_WRITE_TABLES: tables }, stdio: "ignore" });
});
after(() => server.stop());
const get = async (udf, rest, status = 200) => {
  const answer = await request(server, { path: `/${server.udfs[udf]}${rest}` });
  assert.equal(answer.status, status, answer.text.slice(0, 300));
  return answer;
};

for (const [format, mime] of [["feather", "file"], ["arrow", "stream"]])
  for (const compression of ["none"]) // apache-arrow for JavaScript has no codecs of its own
    test(`${format}: apache-arrow reads the rows, the geometry is geoarrow.wkb with its CRS`, async () => {
      const answer = await get("Rows", `/run?format=${format}&${format}.compression=${compression}`);
      assert.equal(answer.headers["content-type"], `application/vnd.apache.arrow.${mime}`);
      const table = tableFromIPC(answer.body);
      assert.deepEqual([...table.getChild("name")], names);
      assert.deepEqual([...table.getChild("n")].map(Number), [1, -2, 9007199254740991]);
      assert.deepEqual([...table.getChild("good")], [true, false, null]);
      const field = table.schema.fields.find((f) => f.name === "geometry");
      assert.equal(field.metadata.get("ARROW:extension:name"), "geoarrow.wkb");
      assert.ok(JSON.parse(field.metadata.get("ARROW:extension:metadata")).crs);
      assert.equal(JSON.parse(table.schema.metadata.get("geo")).primary_column, "geometry");
      const wkb = Buffer.from(table.getChild("geometry").get(1));
      assert.deepEqual([wkb.readUInt32LE(1), wkb.readDoubleLE(5), wkb.readDoubleLE(13)], [1, -3.25, 4.5]);
    });

test("compression is an option with its values named", async () => {
  const answer = await get("Rows", "/run?format=feather&feather.compression=snappy", 422);
  assert.match(answer.text, /none,lz4,zstd/);
  for (const compression of ["lz4", "zstd"])
    assert.equal((await get("Rows", `/run?format=feather&feather.compression=${compression}`)).body.subarray(0, 6).toString(), "ARROW1");
});

/** As the encoders' test wrote it down: integers as text, binary as base64, no finite number as text. */
const plain = (value, type) => {
  if (value === null || value === undefined) return null;
  if (type.typeId === Type.Dictionary) return plain(value, type.dictionary);
  if (type.typeId === Type.Int) return String(value);
  if (type.typeId === Type.Float) return Number.isFinite(value) ? value : String(value);
  if (type.typeId === Type.Binary || type.typeId === Type.LargeBinary || type.typeId === Type.FixedSizeBinary) return Buffer.from(value).toString("base64");
  return value;
};
test("random tables of every type: apache-arrow reads each cell, nulls and all, of files and streams", () => {
  const comparable = new Set([Type.Int, Type.Float, Type.Utf8, Type.LargeUtf8, Type.Binary, Type.LargeBinary, Type.FixedSizeBinary, Type.Bool, Type.Null]);
  let cells = 0;
  for (const file of readdirSync(tables).filter((name) => name.endsWith(".json"))) {
    const expected = JSON.parse(readFileSync(join(tables, file), "utf8")), name = file.slice(0, -5);
    for (const extension of ["feather", "arrows"]) {
      const table = tableFromIPC(readFileSync(join(tables, `${name}.none.${extension}`)));
      assert.equal(table.numCols, expected.length, `${name}.${extension}`);
      expected.forEach((column, i) => {
        const { type, name: title } = table.schema.fields[i], vector = table.getChildAt(i);
        const values = vector ? [...vector] : [];
        assert.equal(values.length, column.length, `${name}.${extension} ${title}`);
        const inner = type.typeId === Type.Dictionary ? type.dictionary : type;
        for (let r = 0; r < values.length; r++) {
          assert.equal(values[r] === null, column[r] === null, `${name}.${extension} ${title} row ${r}`);
          if (!comparable.has(inner.typeId)) continue;
          assert.deepEqual(plain(values[r], type), column[r], `${name}.${extension} ${title} row ${r}`);
          cells++;
        }
      });
    }
  }
  assert.ok(cells > 5000, `${cells} cells`);
});

test("excel: exceljs reads types, a frozen header, and no formula or link", async () => {
  const answer = await get("Rows", "/run?format=xlsx&excel.sheet=Orte%20%26%20Namen");
  const book = new ExcelJS.Workbook();
  await book.xlsx.load(answer.body);
  const sheet = book.getWorksheet("Orte & Namen");
  const header = sheet.getRow(1).values.slice(1);
  const column = (name) => [2, 3, 4].map((row) => sheet.getRow(row).getCell(header.indexOf(name) + 1));
  assert.deepEqual(column("name").map((cell) => cell.text), names);
  assert.ok(column("name").every((cell) => !cell.formula && !cell.hyperlink));
  assert.deepEqual(column("n").map((cell) => cell.value), [1, -2, 9007199254740991]);
  assert.deepEqual(column("good").map((cell) => cell.value), [true, false, null]);
  assert.deepEqual(column("geometry").map((cell) => cell.text)[0], "POINT(1 2)");
  assert.equal(sheet.views[0].state, "frozen");
  assert.equal(sheet.views[0].ySplit, 1);
  assert.ok(sheet.getRow(1).getCell(1).font.bold);
  assert.match((await get("Rows", "/run?format=excel&excel.sheet=a%2Fb", 422)).text, /excel\.sheet/);
  for (const file of readdirSync(tables).filter((name) => name.endsWith(".xlsx")))
    await new ExcelJS.Workbook().xlsx.readFile(join(tables, file));
});

for (const [format, driver] of [["fgb", "FlatGeobuf"], ["gpkg", "GPKG"]])
  test(`${format}: GDAL reads rows, fields and CRS`, async () => {
    const answer = await get("Rows", `/run?format=${format}`), file = join(work, `rows.${format}`);
    writeFileSync(file, answer.body);
    const info = JSON.parse(execFileSync("ogr2ogr", ["-f", "GeoJSON", "/vsistdout/", file], { encoding: "utf8" }));
    const byName = Object.fromEntries(info.features.map((f) => [f.properties.name, f]));
    assert.deepEqual(Object.keys(byName).sort(), [...names].sort());
    assert.deepEqual(byName["=1+1"].geometry.coordinates, [-3.25, 4.5]);
    assert.equal(byName["https://example.org"].properties.n, 9007199254740991);
    assert.equal(byName[names[0]].properties.good, true);
    assert.equal(byName["https://example.org"].properties.good ?? null, null);
    const text = execFileSync("ogrinfo", ["-so", "-al", file], { encoding: "utf8" });
    assert.match(text, new RegExp(`driver .?${driver}`));
    assert.match(text, /ID\["EPSG",4326\]/);
  });

test("a table without geometry: gpkg holds it, flatgeobuf says who can", async () => {
  const file = join(work, "plain.gpkg");
  writeFileSync(file, (await get("Plain", "/run?format=gpkg")).body);
  const read = JSON.parse(execFileSync("ogr2ogr", ["-f", "GeoJSON", "/vsistdout/", file], { encoding: "utf8" }));
  assert.deepEqual(read.features.map((f) => f.properties), [{ a: 1, b: "x" }, { a: 2, b: "🌙" }]);
  assert.match((await get("Plain", "/run?format=flatgeobuf", 406)).text, /gpkg/);
});
