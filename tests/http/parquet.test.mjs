// GeoParquet and moon.sql over HTTP. The files are read by hyparquet, their metadata is held against the published JSON
// schema of GeoParquet 1.1 (golden/) with PROJ's own for the CRS; statements run in a sandboxed worker.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Ajv from "ajv";
import { parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { cli, folder, request, serve, writeUdf } from "../lib/server.mjs";

const golden = join(dirname(fileURLToPath(import.meta.url)), "../golden");
const dir = folder(), data = folder();
const udf = (body, parameters = "...", defaults = "") => `local moon = require "moon"
return moon.udf(function(${parameters})
${body}
end, {${defaults}})`;
writeUdf(dir, "Shapes", udf(`  local function shape(wkt) return moon.geometry(wkt, crs) end
  return moon.table({
    { id = 1, name = "a point", geometry = shape("POINT(-34.9 -8)") },
    { id = 2, name = "a ring", geometry = shape("POLYGON((0 0,4 0,4 3,0 0))") },
    { id = 3, name = "with height", geometry = shape("LINESTRING Z(1 2 3,4 5 6)") },
    { id = 4, name = "nothing" },
    { id = 5, name = "empty", geometry = shape("POINT EMPTY") },
  }, { crs = crs })`, "crs", 'crs = "EPSG:4326"'));
writeUdf(dir, "Plain", udf('  return moon.table { { a = 1, b = "x" }, { a = 2.5 }, { b = "ü" } }'));
writeUdf(dir, "Boxed", udf('  return moon.table { { bbox = "mine", geometry = moon.point(1, 2) } }'));
writeUdf(dir, "Many", udf(`  return moon.sql([[
    select i::integer i, i / 3.0 d, 'row ' || i s, i % 2 = 0 b, date '2020-01-01' + i::int as "day",
      timestamptz '2020-01-01 00:00:00+00' + interval (i) second as moment, (i / 100.0)::decimal(12,2) as price,
      case when i % 3 > 0 then range(i % 5) end as list, { 'x': i, 'y': ['k' || i] } as pair, ('b' || i)::blob as bytes,
      (['r', 'g'])[1 + i % 2]::enum('r', 'g') as colour, [i, i + 1]::bigint[2] as two, null as nothing
    from range(10000) r(i)]])`));
writeUdf(dir, "Places", udf(`  local t = moon.read_vector("fd://places.fgb", moon.bounds(-36, -9, -34, -7))
  return moon.sql("select name, geometry, row_number() over (order by name) n from t where country = $c", { t = t, c = "BR" })`));
writeUdf(dir, "Ask", udf(`  local t = moon.table { { a = 1, geometry = moon.point(1, 2) }, { a = 2, geometry = moon.point(3, 4) } }
  return moon.sql(q, { t = t })`, "q", ""));
writeUdf(dir, "FromFile", udf('  return moon.sql("select sum(a)::double s, count(*)::double n from read_csv($f)", { f = moon.file(path) })',
  "path", 'path = "fd://in.csv"'));
writeUdf(dir, "Pixels", udf(`  local r = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3, nir = 4 }, size = { 20, 10 } })
  local t = moon.sql("select count(*) n, avg(nir) m, min(x) < max(x) w from pixels where red is not null", { pixels = r })
  local row = t:rows()[1]
  return { n = row.n, difference = math.abs(row.m - r.nir:mean()), wide = row.w }`));
writeUdf(dir, "Hungry", udf('  return moon.sql("select count(*) from (select range r, hash(range) h from range(300000000) order by h)")'));
writeUdf(dir, "Forever", udf('  return moon.sql("select count(*) from range(1000000000000) r(i) where hash(i) = 1")',
  "...").replace(/\{\}\)$/, '{}, { timeout = "1s" })'));

let server;
before(async () => {
  const fd = join(data, "orgs/local/fd");
  mkdirSync(fd, { recursive: true });
  writeFileSync(join(fd, "in.csv"), "a,b\n1,x\n2,y\n");
  server = await serve([dir], { data });
  await server.ready();
});
after(() => server.stop());

const ask = (name, rest) => request(server, { path: `/${server.udfs[name]}${rest}` });
const get = async (name, rest) => {
  const answer = await ask(name, rest);
  assert.equal(answer.status, 200, answer.text.slice(0, 400));
  return answer;
};
const sql = (q) => ask("Ask", `/run?format=json&q=${encodeURIComponent(q)}`);
const bytesOf = (answer) => answer.body.buffer.slice(answer.body.byteOffset, answer.body.byteOffset + answer.body.byteLength);
async function parquet(name, rest = "") {
  const answer = await get(name, `.parquet${rest}`);
  assert.equal(answer.headers["content-type"], "application/vnd.apache.parquet");
  const file = bytesOf(answer);
  const metadata = await parquetMetadataAsync(file);
  const geo = metadata.key_value_metadata?.find((row) => row.key === "geo");
  assert.ok((metadata.key_value_metadata ?? []).filter((row) => row.key === "geo").length <= 1, "one geo key");
  return { file, metadata, geo: geo && JSON.parse(geo.value),
    rows: await parquetReadObjects({ file, compressors, utf8: false, geoparquet: false }) };
}

const ajv = new Ajv({ strict: false, validateFormats: false });
const projjson = ["/usr/share/proj/projjson.schema.json", "/usr/local/share/proj/projjson.schema.json"].find(existsSync);
ajv.addSchema({ ...JSON.parse(readFileSync(projjson)), $id: "https://proj.org/schemas/v0.7/projjson.schema.json" });
const valid = ajv.compile(JSON.parse(readFileSync(join(golden, "geoparquet-1.1.0.schema.json"))));

test("the geo metadata meets the schema of GeoParquet 1.1", async (t) => {
  for (const [name, rest, crs, primary] of [
    ["Shapes", "", 4326, "geometry"], ["Shapes", "?crs=EPSG:31985", 31985, "geometry"], ["Places", "", 4326, "geometry"],
    ["Boxed", "", 4326, "geometry"]])
    await t.test(name + rest, async () => {
      const { geo } = await parquet(name, rest);
      assert.ok(valid(geo), JSON.stringify(valid.errors));
      assert.equal(geo.primary_column, primary);
      assert.equal(geo.columns[primary].crs.id.code, crs);
    });
  assert.ok(!valid({ version: "1.1.0", primary_column: "g", columns: { g: { encoding: "WKB", geometry_types: ["Circle"] } } }),
    "the schema refuses what is wrong");
});

test("geometries, their types and boxes", async () => {
  const { geo, rows } = await parquet("Shapes");
  const column = geo.columns.geometry;
  assert.deepEqual(column.geometry_types.toSorted(), ["LineString Z", "Point", "Polygon"]);
  assert.deepEqual(column.bbox, [-34.9, -8, 4, 5]);
  assert.deepEqual(column.covering.bbox, { xmin: ["bbox", "xmin"], ymin: ["bbox", "ymin"], xmax: ["bbox", "xmax"], ymax: ["bbox", "ymax"] });
  assert.deepEqual(rows.map((r) => r.bbox ?? null), [
    { xmin: -34.9, ymin: -8, xmax: -34.9, ymax: -8 }, { xmin: 0, ymin: 0, xmax: 4, ymax: 3 }, { xmin: 1, ymin: 2, xmax: 4, ymax: 5 }, null, null]);
  const point = Buffer.from(rows[0].geometry);
  assert.deepEqual([point.readUInt8(0), point.readUInt32LE(1), point.readDoubleLE(5), point.readDoubleLE(13)], [1, 1, -34.9, -8]);
  assert.equal(rows[3].geometry ?? null, null);
  const boxed = await parquet("Boxed");
  assert.equal(Buffer.from(boxed.rows[0].bbox).toString(), "mine");
  assert.equal(boxed.geo.columns.geometry.covering.bbox.xmin[0], "bbox_");
});

test("a reader that knows GeoParquet shows the geometries", async () => {
  const { file } = await parquet("Shapes");
  const rows = await parquetReadObjects({ file, compressors });
  assert.deepEqual(rows[0].geometry, { type: "Point", coordinates: [-34.9, -8] });
  assert.deepEqual(rows[1].geometry.coordinates, [[[0, 0], [4, 0], [4, 3], [0, 0]]]);
});

test("without a geometry it is Parquet", async () => {
  const { geo, rows } = await parquet("Plain");
  assert.equal(geo, undefined);
  assert.deepEqual(rows.map((r) => [r.a ?? null, r.b ? Buffer.from(r.b).toString() : null]), [[1, "x"], [2.5, null], [null, "ü"]]);
});

test("compression, its level, row groups", async () => {
  const sizes = {};
  for (const [options, codec] of [["?parquet.compression=snappy", "SNAPPY"], ["?parquet.compression=zstd&parquet.level=19", "ZSTD"],
    ["?parquet.compression=none", "UNCOMPRESSED"]]) {
    const { metadata, rows, file } = await parquet("Many", options);
    assert.equal(metadata.row_groups[0].columns[1].meta_data.codec, codec);
    assert.equal(rows.length, 10000);
    sizes[codec] = file.byteLength;
  }
  assert.ok(sizes.ZSTD < sizes.UNCOMPRESSED);
  const { metadata } = await parquet("Many", "?parquet.row_group=2048");
  assert.equal(metadata.row_groups.length, 5);
  assert.equal((await ask("Many", ".parquet?parquet.compression=lzma")).status, 422);
  assert.equal((await ask("Many", ".parquet?parquet.row_group=1")).status, 422);
});

test("every type reads back", async () => {
  const { file } = await parquet("Many");
  const rows = await parquetReadObjects({ file, compressors });
  for (const i of [0, 1, 2, 2047, 2048, 4999, 9999]) {
    const r = rows[i];
    assert.equal(r.i, i);
    assert.ok(Math.abs(r.d - i / 3) < 1e-6 * i + 1e-9);
    assert.equal(r.s, `row ${i}`);
    assert.equal(r.b, i % 2 === 0);
    assert.equal(+r.day, Date.UTC(2020, 0, 1 + i));
    assert.equal(+r.moment, Date.UTC(2020, 0, 1, 0, 0, i));
    assert.ok(Math.abs(Number(r.price) - i / 100) < 1e-9);
    assert.deepEqual(r.list?.map(Number) ?? null, i % 3 ? Array.from({ length: i % 5 }, (_, k) => k) : null);
    assert.deepEqual({ x: Number(r.pair.x), y: r.pair.y }, { x: i, y: [`k${i}`] });
    assert.equal(r.colour, "rg"[i % 2]);
    assert.deepEqual(r.two.map(Number), [i, i + 1]);
    assert.equal(r.nothing ?? null, null);
  }
});

test("statements: views, parameters, places of errors", async () => {
  assert.deepEqual((await sql("select a.a x, b.a y from t a join t b on a.a < b.a")).json, [{ x: 1, y: 2 }]);
  assert.deepEqual((await sql("select st_distance(a.geometry, b.geometry) d from t a, t b where a.a = 1 and b.a = 2")).json, [{ d: Math.hypot(2, 2) }]);
  for (const [q, code, part] of [
    ["selec 1", "sql", "line 1, column 1"],
    ["select\n  nope from t", "sql", "line 2, column 3"],
    ["create table x as select 1", "sql", "only reads"],
    ["copy t to '/tmp/x'", "forbidden", ""],
    ["select * from read_csv('/etc/passwd')", "forbidden", "moon.file"],
    ["select * from read_csv('fd://in.csv')", "forbidden", "moon.file"],
    ["select * from glob('/**')", "forbidden", ""],
    ["select * from read_text('/proc/self/environ')", "forbidden", ""],
    ["set lock_configuration = false", "", ""],
  ]) {
    const answer = await sql(q);
    assert.notEqual(answer.status, 200, q);
    const { error } = answer.json;
    if (code) assert.equal(error.code, code, `${q}: ${answer.text}`);
    assert.ok(error.message.includes(part), `${q}: ${error.message}`);
    assert.ok(!answer.text.includes(data), `${q} shows a folder of the server: ${answer.text}`);
  }
});

test("the author's line is named", () => {
  const run = cli(["run", join(dir, "Ask"), "q=selec", "--data", folder()]);
  assert.notEqual(run.code, 0);
  assert.match(run.err, /Ask\.lua:4: sql: Parser Error: .* \(line 1, column 1 of the statement\)/);
});

test("a file is read by its name, and the answer depends on it", async () => {
  const first = (await get("FromFile", "/run?format=json")).json;
  assert.deepEqual(first, [{ s: 3, n: 2 }]);
  writeFileSync(join(data, "orgs/local/fd/in.csv"), "a,b\n1,x\n2,y\n40,z\n");
  let now;
  for (let i = 0; i < 100 && now?.[0].s !== 43; i++) {
    now = (await get("FromFile", "/run?format=json")).json;
    await new Promise((done) => setTimeout(done, 50));
  }
  assert.deepEqual(now, [{ s: 43, n: 3 }]);
  for (const path of ["fd://none.csv", "fd://../../../etc/passwd", "/etc/passwd", "https://127.0.0.1/x.csv", "fd://"]) {
    const answer = await ask("FromFile", `/run?path=${encodeURIComponent(path)}`);
    assert.notEqual(answer.status, 200, path);
    assert.ok(!answer.text.includes(data) && !answer.text.includes("root:"), answer.text);
  }
});

test("a raster is a view of its pixels", async () => {
  const answer = (await get("Pixels", "/run")).json;
  assert.equal(answer.n, 200);
  assert.ok(answer.difference < 1e-9 && answer.wide);
});

test("too much memory and too much time end a statement, not the server", async () => {
  const hungry = await ask("Hungry", "/run");
  assert.equal(hungry.json.error.code, "udf_memory", hungry.text);
  const forever = await ask("Forever", "/run");
  assert.equal(forever.status, 504, forever.text);
  assert.deepEqual((await sql("select count(*) n from t")).json, [{ n: 2 }]);
});
