// moon.table_to_tile on a table of chunks, which DuckDB's own client writes: of the files and row groups only those
// are read that the bounds need, which the test sees by damaging the others. And a spatial join over HTTP.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { parquetMetadataAsync } from "hyparquet";
import { folder, request, serve, writeUdf } from "../lib/server.mjs";

const dir = folder(), data = folder(), fd = join(data, "orgs/local/fd"), points = join(fd, "points");
writeUdf(dir, "Chunks", `local moon = require "moon"
return moon.udf(function(bounds, path, min_zoom, columns, clip)
  return moon.table_to_tile(bounds, path, { min_zoom = min_zoom, columns = columns, clip = clip })
end, { bounds = moon.type.bounds, path = "fd://points/", min_zoom = moon.type.integer(nil, { optional = true }),
  columns = moon.type.list(nil, { optional = true }), clip = false })`);
writeUdf(dir, "Join", `local moon = require "moon"
return moon.udf(function()
  local points = moon.table_to_tile(moon.bounds(8.495, 46, 9, 47), "fd://points/")
  local cells = points:grid(20000)
  return points:sjoin(cells, "within"):group("n", { points = "count(*)" })
end)`);

// 100 x 100 points, 1/100 degree apart; 5,000 in each file, ascending by longitude; row groups of 2,048.
const geo = JSON.stringify({ version: "1.0.0", primary_column: "geometry",
  columns: { geometry: { encoding: "WKB", geometry_types: ["Point"] } } });
const inside = ([w, s, e, n]) => {
  let count = 0;
  for (let i = 0; i < 100; i++)
    for (let j = 0; j < 100; j++) {
      const x = 8 + i / 100, y = 46 + j / 100;
      count += x >= w && x <= e && y >= s && y <= n;
    }
  return count;
};

let server;
before(async () => {
  mkdirSync(points, { recursive: true });
  const db = await (await DuckDBInstance.create()).connect();
  const wkb = (i) => { // little-endian point
    const b = Buffer.alloc(21);
    b.writeUInt8(1, 0), b.writeUInt32LE(1, 1);
    b.writeDoubleLE(8 + Math.floor(i / 100) / 100, 5), b.writeDoubleLE(46 + (i % 100) / 100, 13);
    return b.toString("hex");
  };
  await db.run("create table t (id integer, kind varchar, geometry blob)");
  for (let at = 0; at < 10000; at += 1000)
    await db.run("insert into t values " + Array.from({ length: 1000 }, (_, k) =>
      `(${at + k}, '${(at + k) % 2 ? "odd" : "even"}', unhex('${wkb(at + k)}'))`).join(","));
  const chunks = [];
  for (let file = 0; file < 2; file++) {
    const path = join(points, `${file}.parquet`);
    await db.run(`copy (select * from t where id >= ${file * 5000} and id < ${file * 5000 + 5000} order by id) to '${path}'
      (format parquet, row_group_size 2048, kv_metadata {geo: '${geo}'})`);
    const bytes = readFileSync(path);
    const { row_groups } = await parquetMetadataAsync(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    let first = file * 5000;
    for (const [chunk, group] of row_groups.entries()) {
      const last = first + Number(group.num_rows) - 1;
      chunks.push(`(${8 + Math.floor(first / 100) / 100}::double, 46::double, ${8 + Math.floor(last / 100) / 100}::double, 46.99::double, '${file}', ${chunk})`);
      first = last + 1;
    }
    if (file === 0) { // what only a reader of the last chunk would see
      const at = Number(row_groups.at(-1).columns[0].meta_data.data_page_offset);
      bytes.fill(0xff, at, at + 400);
      writeFileSync(path, bytes);
    }
  }
  assert.equal(chunks.length, 6);
  await db.run(`copy (select * from (values ${chunks.join(",")}) v(bbox_minx, bbox_miny, bbox_maxx, bbox_maxy, file_id, chunk_id))
    to '${join(fd, "meta.parquet")}' (format parquet)`);
  const meta = readFileSync(join(fd, "meta.parquet")).toString("base64");
  await db.run(`copy (select * from t limit 5) to '${join(points, "_sample")}'
    (format parquet, kv_metadata {'fused:format_version': '5', 'fused:_metadata': '${meta}'})`);
  await db.run(`copy (select *, struct_pack(xmin := 8 + (id // 100) / 100.0, ymin := 46 + (id % 100) / 100.0,
    xmax := 8 + (id // 100) / 100.0, ymax := 46 + (id % 100) / 100.0) as bbox from t) to '${join(fd, "plain.parquet")}'
    (format parquet, kv_metadata {geo: '${geo}'})`);
  server = await serve([dir], { data });
  await server.ready();
});
after(() => server.stop());

const ask = async (query, name = "Chunks") => {
  const answer = await request(server, { path: `/${server.udfs[name]}/run/file?format=geojson&${query}` });
  return { status: answer.status, json: JSON.parse(answer.body), text: String(answer.body) };
};

test("only the chunks that the bounds need are read", async () => {
  for (const box of [[8.05, 46.2, 8.105, 46.4], [8.6, 46, 8.605, 47], [8.605, 46.2, 8.7, 46.21], [8.195, 46.495, 8.205, 46.505]]) {
    const { status, json, text } = await ask(`bounds=[${box}]`);
    assert.equal(status, 200, text);
    assert.equal(json.features.length, inside(box), String(box));
    assert.deepEqual(Object.keys(json.features[0].properties).sort(), ["id", "kind"]);
  }
});

test("a chunk that is broken is an error that names the file", async () => {
  const { status, text } = await ask("bounds=[8.45,46,8.49,47]");
  assert.equal(status, 500);
  assert.match(text, /fd:\/\/points\/0\.parquet|table_to_tile|sql/);
});

test("a file that no chunk needs may be away", async () => {
  renameSync(join(points, "0.parquet"), join(points, "0.away"));
  try {
    const box = [8.7, 46.1, 8.8, 46.2];
    const { status, json, text } = await ask(`bounds=[${box}]&columns=["kind"]`);
    assert.equal(status, 200, text);
    assert.equal(json.features.length, inside(box));
    assert.deepEqual(Object.keys(json.features[0].properties), ["kind"]);
  } finally {
    renameSync(join(points, "0.away"), join(points, "0.parquet"));
  }
});

test("outside of all chunks, and below the least zoom, there are no rows", async () => {
  const { status, json, text } = await ask("bounds=[20,20,21,21]");
  assert.equal(status, 200, text);
  assert.equal(json.features.length, 0);
  const tile = async (z, x, y, more) => {
    const answer = await request(server, { path: `/${server.udfs.Chunks}/run/tiles/${z}/${x}/${y}?format=geojson&${more}` });
    assert.equal(answer.status, 200, String(answer.body));
    return JSON.parse(answer.body).features.length;
  };
  const z = 12, x = Math.floor((8.75 + 180) / 360 * 2 ** z);
  const rad = 46.5 * Math.PI / 180, y = Math.floor((1 - Math.log(Math.tan(rad) + 1 / Math.cos(rad)) / Math.PI) / 2 * 2 ** z);
  assert.equal(await tile(z, x, y, "min_zoom=13"), 0);
  assert.ok(await tile(z, x, y, "min_zoom=12") > 0);
});

test("a plain GeoParquet file with and without bounds of its rows", async () => {
  const box = [8.295, 46.295, 8.355, 46.905];
  const { status, json, text } = await ask(`bounds=[${box}]&path=fd://plain.parquet&clip=true`);
  assert.equal(status, 200, text);
  assert.equal(json.features.length, inside(box));
  assert.deepEqual(Object.keys(json.features[0].properties).sort(), ["id", "kind"]);
});

test("a spatial join of a table's own rows", async () => {
  const answer = await request(server, { path: `/${server.udfs.Join}/run/file?format=json` });
  assert.equal(answer.status, 200, String(answer.body));
  const rows = JSON.parse(answer.body);
  assert.ok(rows.length > 1);
  for (const { n, points } of rows) assert.equal(points % n, 0); // each cell of n points is met by n points
  assert.equal(rows.reduce((sum, { points }) => sum + points, 0), 5000);
});
