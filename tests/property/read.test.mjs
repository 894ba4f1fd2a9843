// Random tables and rasters out through every format and back, by readers that are not ours, compared with what the generator
// (make.c) says that it put in: equal, or within the loss that LOSS states. Prints how many values of each type came back from
// each format; a cell without any says why.
//
// MOONGATE_CASES (tables; default 72) and MOONGATE_SEED choose how much; `./moongate test property` takes 4,800.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build, folder } from "../lib/server.mjs";

const require = createRequire(import.meta.url);
const cases = Number(process.env.MOONGATE_CASES ?? 72), seed = process.env.MOONGATE_SEED ?? "1";
const work = folder(), tables = join(work, "tables"), rasters = join(work, "rasters");
const rasterCases = Math.max(80, Math.round(cases / 3));
// Readers that are programs take a process each: every fifth case.
const slowly = (n) => n % 5 === 0; // prime to the kinds of geometry and of nulls

before(() => {
  for (const [kind, dir, n] of [["tables", tables, cases], ["rasters", rasters, rasterCases]]) {
    mkdirSync(dir);
    execFileSync(join(build, "property_make"), [kind, dir, seed, String(n)], { stdio: ["ignore", "ignore", "inherit"] });
  }
});
after(() => rmSync(work, { recursive: true, force: true }));

// ---- what formats lose, and why cells are empty

const LOSS = {
  json: "NaN and infinities are null; bytes are base64", geojson: "as json; coordinates to 7 places",
  csv: "all is text; empty bytes are null", tsv: "as csv", xml: "all is text; what is empty is empty", arrow: "", feather: "", parquet: "",
  excel: "whole numbers of more than 15 digits are text; an empty text is an empty cell; times to the millisecond; nested values are JSON",
  flatgeobuf: "nested values are JSON; unsigned 64 bit as text or real", gpkg: "as flatgeobuf",
};
const EMPTY = { html: "a page for people, read by nobody", svg: "a drawing: no values", mvt: "geometry in units of the tile: tested by itself" };

// ---- comparison

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const micros = (v) => {
  if (v instanceof Date) return { us: BigInt(v.getTime()) * 1000n, ms: true };
  if (typeof v === "bigint") return { us: v };
  if (typeof v === "number") return { us: BigInt(Math.round(v)) * 1000n, ms: true };
  const [, day, time, fraction = "", zone] = v.match(/^(-?\d+-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?$/) ?? [];
  return { us: BigInt(Date.parse(`${day}T${time}Z`)) * 1000n + BigInt(fraction.padEnd(6, "0").slice(0, 6) || 0), zone };
};
const days = (v) => v instanceof Date ? v.getTime() / 86400000 : typeof v === "number" ? (Math.abs(v) > 1e6 ? v / 86400000 : v)
  : Date.parse(`${String(v).slice(0, 10)}T00:00:00Z`) / 86400000;
const decimal = (v) => (BigInt(v) < 0n ? "-" : "") + String(BigInt(v) < 0n ? -BigInt(v) : BigInt(v)).padStart(5, "0").replace(/(\d{4})$/, ".$1");
const trimmed = (v) => String(v).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

const same = {
  bool: (e, v) => (e === "true") === (v === true || v === 1 || v === "true" || v === "1"),
  int: (e, v) => typeof v === "number" ? (Number.isSafeInteger(v) ? String(v) === e : false) : String(v) === e,
  float32: (e, v) => Math.fround(Number(v)) === Math.fround(Number(e)),
  float64: (e, v) => Number(v) === Number(e),
  string: (e, v) => v === e,
  binary: (e, v) => typeof v === "string" ? v.toLowerCase() === e || Buffer.from(v, "base64").toString("hex") === e.toLowerCase() : hex(v) === e,
  date: (e, v) => days(v) === Number(e),
  timestamp: (e, v) => {
    const got = micros(v);
    return got.ms ? got.us / 1000n === BigInt(e) / 1000n || got.us / 1000n === (BigInt(e) - 999n) / 1000n : got.us === BigInt(e);
  },
  decimal: (e, v) => trimmed(v) === trimmed(decimal(e)) || Number(v) === Number(decimal(e)),
  list: (e, v) => JSON.stringify([...(typeof v === "string" ? JSON.parse(v) : v)].map(String)) === JSON.stringify(e),
  struct: (e, v) => String((typeof v === "string" ? JSON.parse(v) : v).a) === e.a,
};
const rule = (type) => same[/^u?int|^row$/.test(type) ? "int" : type.replace("large_", "").replace("_utc", "")];

// ---- geometry: WKB, WKT and GeoJSON to nested coordinates

const names = ["", "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"];
function wkb(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const read = () => {
    const little = view.getUint8(at) === 1, code = view.getUint32(at + 1, little), kind = (code & 0x0fffffff) % 1000;
    const axes = 2 + (code & 0x80000000 || [1, 3].includes(Math.floor((code & 0xffff) / 1000)) ? 1 : 0);
    at += 5;
    const count = () => { at += 4; return view.getUint32(at - 4, little); };
    const point = () => Array.from({ length: axes }, () => { at += 8; return view.getFloat64(at - 8, little); });
    const line = () => Array.from({ length: count() }, point);
    const coordinates = kind === 1 ? point() : kind === 2 ? line() : kind === 3 ? Array.from({ length: count() }, line)
      : Array.from({ length: count() }, () => read().coordinates);
    return { type: names[kind], coordinates };
  };
  return read();
}
function wkt(text) {
  const [, name, z, body] = text.match(/^(\w+)( Z)? ?(.*)$/s);
  const type = names.find((n) => n.toUpperCase() === name);
  let json = body.replace(/(-?[\d.]+(?:e[-+]?\d+)?) (-?[\d.]+(?:e[-+]?\d+)?)(?: (-?[\d.]+(?:e[-+]?\d+)?))?/g, (_, x, y, h) => `[${x},${y}${h ? `,${h}` : ""}]`)
    .replaceAll("(", "[").replaceAll(")", "]");
  let coordinates = JSON.parse(json);
  if (type === "Point") coordinates = coordinates[0];
  if (type === "MultiPoint") coordinates = coordinates.map((p) => Array.isArray(p[0]) ? p[0] : p);
  return { type, coordinates };
}
/** Coordinates equal to half of the seventh decimal; a negative number that rounds to 0 has no sign. */
function near(got, e) {
  assert.equal(Array.isArray(got), Array.isArray(e));
  if (!Array.isArray(e)) return assert.ok(Math.abs(got - e) <= 0.5000001e-7, `${got} for ${e}`);
  assert.equal(got.length, e.length);
  e.forEach((v, i) => near(got[i], v));
}
const geometryOf = (v) => v instanceof Uint8Array ? wkb(v) : typeof v === "string" ? (v.startsWith("{") ? JSON.parse(v) : wkt(v)) : v;
function sameGeometry(e, v) {
  const got = geometryOf(v);
  assert.equal(got.type, e.type);
  near(got.coordinates, e.coordinates);
}

// ---- readers: bytes to rows of { column: value }

// Whole numbers of more digits than a double has come as text.
const lossless = (text) => JSON.parse(text.replace(/([:[,]\s*)(-?\d{16,})(?=\s*[,}\]])/g, '$1"$2"'));
let duck;
async function csv(file, delimiter) {
  const { DuckDBInstance } = require("@duckdb/node-api");
  duck ??= await (await DuckDBInstance.create(":memory:")).connect();
  const reader = await duck.runAndReadAll(`select * from read_csv('${file}', delim = '${delimiter}', header = true, all_varchar = true,
    nullstr = '', allow_quoted_nulls = false, quote = '"', escape = '"', strict_mode = true)`);
  return reader.getRowObjects();
}
function xml(text) {
  const { SaxesParser } = require("saxes");
  const parser = new SaxesParser(), rows = [], path = [];
  let row, value, column, isNull;
  parser.on("error", (error) => { throw error; });
  parser.on("opentag", ({ name, attributes }) => {
    path.push(name);
    if (path.length === 2) row = {};
    if (path.length === 3) { column = attributes.name ?? name; value = ""; isNull = attributes["xsi:nil"] === "true" || attributes.nil === "true"; }
  });
  parser.on("text", (part) => { if (path.length >= 3) value += part; });
  parser.on("cdata", (part) => { if (path.length >= 3) value += part; });
  parser.on("closetag", () => {
    if (path.length === 3 && !isNull) row[column] = value;
    if (path.length === 2) rows.push(row);
    path.pop();
  });
  parser.write(text).close();
  return rows;
}
async function excel(file) {
  const ExcelJS = require("exceljs"), book = new ExcelJS.Workbook();
  await book.xlsx.readFile(file);
  const [sheet] = book.worksheets, head = sheet.getRow(1).values.slice(1);
  const rows = [];
  for (let i = 2; i <= sheet.rowCount; i++) {
    const row = {};
    sheet.getRow(i).eachCell((cell, at) => { row[head[at - 1]] = cell.value?.richText ? cell.value.richText.map((t) => t.text).join("") : cell.value; });
    rows.push(row);
  }
  return rows;
}
async function parquet(file) {
  const { parquetReadObjects } = await import("hyparquet"), { compressors } = await import("hyparquet-compressors");
  const bytes = readFileSync(file);
  return parquetReadObjects({ file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength), compressors, utf8: false, geoparquet: false });
}
function arrow(file) {
  const { tableFromIPC, DataType } = require("apache-arrow"), table = tableFromIPC(readFileSync(file));
  const rows = Array.from({ length: table.numRows }, () => ({}));
  for (const { name, type } of table.schema.fields) {
    const vector = table.getChild(name);
    for (let i = 0; i < rows.length; i++) {
      let v = vector.get(i);
      if (v !== null && DataType.isDecimal(type)) { // words of 32 bits, two's complement
        const n = BigInt.asIntN(128, Array.from(new Uint32Array(v.buffer, v.byteOffset, 4)).reduce((sum, w, k) => sum + (BigInt(w) << BigInt(32 * k)), 0n));
        v = decimal(n);
      } else if (v !== null && DataType.isStruct(type)) v = v.toJSON();
      rows[i][name] = v;
    }
  }
  return rows;
}
function ogr(file) {
  const out = execFileSync("ogr2ogr", ["-f", "GeoJSON", "-lco", "SIGNIFICANT_FIGURES=17", "-lco", "RFC7946=NO", "/vsistdout/", file], { encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"] });
  return lossless(out).features.map((f) => ({ ...f.properties, geometry: f.geometry })).sort((a, b) => a.row - b.row);
}
const READERS = {
  json: (file) => lossless(readFileSync(file, "utf8")),
  geojson: (file) => lossless(readFileSync(file, "utf8")).features.map((f) => ({ ...f.properties, geometry: f.geometry })),
  csv: (file) => csv(file, ","), tsv: (file) => csv(file, "\t"),
  xml: (file) => xml(readFileSync(file, "utf8")),
  excel, parquet, feather: arrow, arrow, flatgeobuf: ogr, gpkg: ogr,
};
const SLOW = new Set(["flatgeobuf", "gpkg"]);
// A value that a format states it cannot tell from null, or gives in another form.
const accepted = (format, type, expected, value) =>
  (["xml", "excel", ...(type === "binary" ? ["csv", "tsv"] : [])].includes(format) && expected === "" && (value === undefined || value === null)) ||
  // exceljs does not know Excel's 29 February of 1900.
  (type === "date" && format === "excel" && Number(expected) < -25508 && value instanceof Date && days(value) + 1 === Number(expected)) ||
  // hyparquet makes decimals doubles by a product.
  (type === "decimal" && format === "parquet" && Math.abs(Number(value) - Number(decimal(expected))) < 1e-8) ||
  (["float64", "float32"].includes(type) && format === "excel" && Math.abs(Number(value) - Number(expected)) <= Math.abs(expected) * 1e-14) ||
  (["flatgeobuf", "gpkg"].includes(format) && type === "uint64" && Number(value) === Number(expected)) ||
  // ogr2ogr's GeoJSON: floats of 32 bits to 8 digits, and text that is JSON becomes it.
  (SLOW.has(format) && type === "float32" && Math.abs(value - expected) <= Math.abs(expected) * 1e-7) ||
  (SLOW.has(format) && type.endsWith("string") && typeof value === "object" && JSON.stringify(value) === expected) ||
  (["flatgeobuf", "gpkg"].includes(format) && type === "decimal" && Number(value) === Number(decimal(expected)));

const count = {}; // format -> column -> mode -> values
function tally(format, column, mode) {
  const cell = (count[format] ??= {})[column] ??= { none: 0, some: 0, all: 0 };
  cell[mode]++;
}
const truth = (dir, n) => JSON.parse(readFileSync(join(dir, `${n}.json.truth`), "utf8"));

for (const format of Object.keys(READERS))
  test(`tables: ${format}`, async (t) => {
    assert.ok(existsSync(join(tables, `1.${format}`)), `the program wrote no ${format}`);
    for (let n = 0; n < cases; n++) {
      const file = join(tables, `${n}.${format}`);
      if ((SLOW.has(format) && !slowly(n)) || !existsSync(file)) continue;
      const { rows, nulls, geometry, columns } = truth(tables, n);
      const got = await READERS[format](file);
      const where = `case ${n} (seed ${seed}, nulls ${nulls}, geometry ${geometry})`;
      // A sheet has no last rows of nothing.
      if (format === "excel" && nulls === "all") assert.ok(got.length <= rows, where);
      else assert.equal(got.length, rows, `${where}: rows`);
      for (const [name, values] of Object.entries(columns))
        values.forEach((expected, row) => {
          const value = got[row]?.[name];
          const place = `${where}, row ${row}, ${name}: expected ${JSON.stringify(expected)}, got ${typeof value === "bigint" ? value : JSON.stringify(value)}`;
          if (expected === null) assert.ok(value === null || value === undefined, place);
          else if (accepted(format, name, expected, value)) ;
          else if (value === null || value === undefined) assert.fail(place);
          else if (name === "geometry") sameGeometry(expected, value);
          else {
            let equal = false;
            try { equal = rule(name)(expected, value); } catch (error) { assert.fail(`${place}: ${error.message}`); }
            assert.ok(equal, place);
          }
          tally(format, name === "geometry" ? geometry : name, name === "geometry" && nulls === "all" ? "some" : nulls);
        });
    }
  });

test("tables: mvt by count, attribute and place", async () => {
  const { VectorTile } = await import("@mapbox/vector-tile"), { default: Pbf } = await import("pbf");
  for (let n = 0; n < cases; n++) {
    const file = join(tables, `${n}.mvt`);
    if (!existsSync(file)) continue;
    const { geometry, nulls, columns } = truth(tables, n);
    if (geometry !== "Point") continue;
    // A copy: pbf reads doubles from the start of the pool that a small Buffer lies in.
    const { udf } = new VectorTile(new Pbf(new Uint8Array(readFileSync(file)))).layers, where = `case ${n}`;
    const kept = columns.geometry.map((g, i) => g ? i : -1).filter((i) => i >= 0);
    assert.equal(udf?.length ?? 0, kept.length, where);
    for (let i = 0; i < kept.length; i++) {
      const feature = udf.feature(i), { row } = feature.properties, [[point]] = feature.loadGeometry(), [lng, lat] = columns.geometry[row].coordinates;
      const y = 0.5 - Math.log(Math.tan(Math.PI / 4 + lat * Math.PI / 360)) / (2 * Math.PI);
      assert.ok(Math.abs(point.x - (lng + 180) / 360 * 4096) <= 1 && Math.abs(point.y - y * 4096) <= 1, `${where}: ${point.x} ${point.y}`);
      for (const name of ["string", "int32", "bool", "float64"]) {
        const expected = columns[name][row], value = feature.properties[name];
        if (expected === null) assert.equal(value, undefined, `${where}, ${name}`);
        else assert.ok(rule(name)(expected, value), `${where}, ${name}: ${value} instead of ${expected}`);
      }
      tally("mvt", "Point", nulls === "all" ? "some" : nulls);
    }
    assert.deepEqual(Array.from(kept, (_, i) => udf.feature(i).properties.row).sort((a, b) => a - b), kept, where);
  }
});

// ---- rasters

/** Values of each band, NaN where there is none. */
async function tif(file) {
  const { fromArrayBuffer } = await import("geotiff"), bytes = readFileSync(file);
  const image = await (await fromArrayBuffer(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))).getImage();
  const nodata = image.getGDALNoData(), bands = await image.readRasters();
  return { width: image.getWidth(), height: image.getHeight(), nodata, bands: Array.from(bands, (b) => Array.from(b)) };
}
function npy(file) {
  const bytes = readFileSync(file), length = bytes.readUInt16LE(8), head = bytes.toString("latin1", 10, 10 + length);
  assert.equal(bytes.toString("latin1", 1, 6), "NUMPY");
  assert.equal((10 + length) % 64, 0);
  const descr = head.match(/'descr': '([^']+)'/)[1], shape = head.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((s) => s.trim()).map(Number);
  assert.match(head, /'fortran_order': False/);
  const arrays = { "|u1": Uint8Array, "|i1": Int8Array, "<u2": Uint16Array, "<i2": Int16Array, "<u4": Uint32Array, "<i4": Int32Array, "<f4": Float32Array, "<f8": Float64Array };
  const body = bytes.buffer.slice(bytes.byteOffset + 10 + length, bytes.byteOffset + bytes.length), all = new arrays[descr](body);
  const [height, width] = shape.slice(-2), n = width * height;
  return { width, height, descr, bands: Array.from({ length: all.length / n }, (_, b) => Array.from(all.slice(b * n, (b + 1) * n))) };
}
/** 8 bit RGBA as a viewer shows it. */
function png(file) {
  const { PNG } = require("pngjs"), image = PNG.sync.read(readFileSync(file), { skipRescale: false });
  return { width: image.width, height: image.height, rgba: image.data };
}
function byGdal(file) {
  execFileSync("gdal_translate", ["-q", "-of", "PNG", "-expand", "rgba", file, `${file}.png`], { stdio: "ignore" });
  return png(`${file}.png`);
}
function webp(file) {
  execFileSync("gdal_translate", ["-q", "-of", "PNG", file, `${file}.png`], { stdio: "ignore" });
  return png(`${file}.png`);
}

// What 8 bit pictures show of a sample: the type's range, or 0 to 1 of floats.
const LOW = { uint8: 0, int8: -128, uint16: 0, int16: -32768, uint32: 0, int32: -2147483648, float32: 0, float64: 0 };
const HIGH = { uint8: 255, int8: 127, uint16: 65535, int16: 32767, uint32: 4294967295, int32: 2147483647, float32: 1, float64: 1 };
const shade = (sample, v) => Math.min(255, Math.max(0, (v - LOW[sample]) / (HIGH[sample] - LOW[sample]) * 255));

function samePicture(t, image, tolerance, where) {
  const { width, height, bands, sample, values } = t;
  assert.deepEqual([image.width, image.height], [width, height], where);
  for (let i = 0; i < width * height; i++) {
    const at = (b) => values[b][i], hole = at(0) === null;
    const alpha = hole ? 0 : bands === 2 ? shade(sample, at(1)) : bands === 4 ? shade(sample, at(3)) : 255;
    assert.ok(Math.abs(image.rgba[4 * i + 3] - alpha) <= tolerance, `${where}, pixel ${i}: alpha ${image.rgba[4 * i + 3]}, expected ${alpha}`);
    for (let c = 0; c < 3 && alpha > tolerance; c++) {
      const expected = shade(sample, at(bands < 3 ? 0 : c));
      assert.ok(Math.abs(image.rgba[4 * i + c] - expected) <= tolerance, `${where}, pixel ${i}: ${image.rgba[4 * i + c]}, expected ${expected}`);
    }
  }
}
function sameValues(t, got, where) {
  assert.deepEqual([got.width, got.height, got.bands.length], [t.width, t.height, t.bands], where);
  t.values.forEach((band, b) => band.forEach((expected, i) => {
    const value = got.bands[b][i];
    if (expected === null) assert.ok(Number.isNaN(value) || got.nodata !== null || t.sample !== "float32", `${where}, band ${b}, pixel ${i}: ${value} is no hole`);
    else assert.equal(value, expected, `${where}, band ${b}, pixel ${i}`);
  }));
}
// [reader, comparison, a process each]
const PICTURES = {
  png: [png, (t, image, where) => samePicture(t, image, 1, where)],
  apng: [png, (t, image, where) => samePicture(t, image, 1, where)],
  webp: [webp, (t, image, where) => samePicture(t, image, 1, where), true],
  tif: [tif, sameValues],
  npy: [npy, sameValues],
};
for (const [format, [read, compare, slow]] of Object.entries(PICTURES))
  test(`rasters: ${format}`, async (t) => {
    let n = 0;
    for (let i = 0; i < rasterCases; i++) {
      const file = join(rasters, `${i}.${format}`);
      if (!existsSync(file) || (slow && !slowly(i))) continue;
      const known = truth(rasters, i);
      compare(known, await read(file), `case ${i} (seed ${seed}, ${known.bands} x ${known.sample}${known.holes ? ", holes" : ""})`);
      tally(format, known.sample, known.holes ? "some" : "none");
      n++;
    }
    assert.ok(n > 0, `the program wrote no ${format}`);
  });

test("each format has been read", (t) => {
  const types = [...new Set(Object.values(count).flatMap((c) => Object.keys(c)))];
  const line = (head, cells) => t.diagnostic([head.padEnd(16), ...cells.map((c) => String(c).padStart(16))].join(""));
  const formats = Object.keys(count);
  t.diagnostic(`values read back: without nulls / among nulls / all null; ${cases} tables, ${rasterCases} rasters, seed ${seed}`);
  for (let i = 0; i < formats.length; i += 6) {
    const part = formats.slice(i, i + 6);
    line("", part);
    for (const type of types)
      if (part.some((f) => count[f][type]))
        line(type, part.map((f) => { const c = count[f][type]; return c ? `${c.none}/${c.some}/${c.all}` : "-"; }));
  }
  for (const [format, why] of Object.entries({ ...EMPTY, ...LOSS })) if (why) t.diagnostic(`${format}: ${why}`);
  for (const format of ["json", "geojson", "csv", "tsv", "png", "tif", "mvt"]) assert.ok(count[format], `${format} was not read`);
});
