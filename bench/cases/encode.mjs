// The encoders of tables: 200,000 rows of five columns by ours, ogr2ogr, DuckDB and pyarrow, one thread each, in turn; vector
// tiles by ours. Bytes are those of the same rows; what ours wrote is counted by a reader that is not ours before it is timed.
import { existsSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build, folder, peersDir, root } from "../lib/servers.mjs";
import { onServer, output } from "../lib/load.mjs";
import { inTurn } from "../lib/measure.mjs";

const rows = 200000, group = `A table of ${rows.toLocaleString("en")} rows and 5 columns`;
const program = join(build, "bench_encode"), python = join(peersDir, "pyarrow/bin/python");
const bytesOf = (file) => statSync(file).size;

/** Ours: the least of some repeats in milliseconds, as of the peers that repeat; bytes. */
async function ours(format, repeats, file) {
  const lines = (await output([...onServer, program, format, String(repeats), ...(file ? [file] : [])])).trim().split("\n").map(JSON.parse);
  return { ms: lines.reduce((least, { us }) => Math.min(least, us), Infinity) / 1000, bytes: lines[0].bytes };
}

/** DuckDB in this process, of one thread, with the rows in a table; nothing where the tests' packages are not there. */
async function duckdb(dir, source) {
  const packages = join(build, "tests-npm/package.json");
  if (!existsSync(packages)) return undefined;
  try {
    const { DuckDBInstance } = createRequire(packages)("@duckdb/node-api");
    const db = await (await DuckDBInstance.create(":memory:", { threads: "1" })).connect();
    await db.run(`create table t as select * from '${source}'`);
    await db.run("create table w as select id, value, name, seen, 'POINT (' || round(value, 6) || ' ' || round(value / 2, 6) || ')' as geometry from t");
    return async (table, options, file) => {
      let least = Infinity;
      for (let i = 0; i < 3; i++) {
        const start = performance.now();
        await db.run(`copy ${table} to '${join(dir, file)}' (${options})`);
        least = Math.min(least, performance.now() - start);
      }
      return least;
    };
  } catch {
    return undefined;
  }
}

async function timed(command) {
  const start = performance.now();
  await output([...onServer, ...command]);
  return performance.now() - start;
}
const arrow = `
import sys, time, pyarrow as pa, pyarrow.parquet as pq, pyarrow.feather as feather
pa.set_cpu_count(1); pa.set_io_thread_count(1)
t = pq.read_table(sys.argv[1], use_threads=False); best = 1e9
for i in range(3):
    start = time.perf_counter()
    if sys.argv[2] == "feather": feather.write_feather(t, sys.argv[3], compression="uncompressed")
    elif sys.argv[2] == "csv":
        import pyarrow.csv as c; c.write_csv(t.drop_columns(["geometry", "bbox"]) if "bbox" in t.column_names else t.drop_columns(["geometry"]), sys.argv[3])
    else: pq.write_table(t, sys.argv[3])
    best = min(best, time.perf_counter() - start)
print(best * 1000)`;

export async function encode({ rounds }) {
  await output(["cmake", "-S", root, "-B", build, "-DMG_BENCH=ON"]);
  await output(["ninja", "-C", build, "bench_encode"]);
  const dir = folder(), at = (name) => join(dir, name), results = [];
  await ours("flatgeobuf", 1, at("rows.fgb"));
  await ours("parquet", 1, at("rows.parquet"));
  const info = await output(["ogrinfo", "-so", "-al", at("rows.fgb")]);
  if (!info.includes(`Feature Count: ${rows}`)) throw new Error(`GDAL counts other rows in what we wrote: ${info.slice(0, 200)}`);
  const duck = await duckdb(dir, at("rows.parquet")), hasArrow = existsSync(python);

  const ogr = (driver, name, ...more) => ({ label: "ogr2ogr, from FlatGeobuf", file: name,
    run: async () => {
      rmSync(at(name), { force: true });
      return { value: await timed(["ogr2ogr", "-f", driver, at(name), at("rows.fgb"), ...more]) };
    } });
  const duckTo = (table, options, name, label) => duck && { label, file: name, run: async () => ({ value: await duck(table, options, name) }) };
  const py = (format, name) => hasArrow && { label: "pyarrow", file: name,
    run: async () => ({ value: Number(await output([...onServer, python, "-c", arrow, at("rows.parquet"), format, at(name)])) }) };
  // Each: our format, the target against the first peer, the peers.
  const cases = [
    ["geojson", 10, [ogr("GeoJSON", "o.geojson"), duckTo("w", "format json", "d.geojson.json", "DuckDB, JSON of the rows")]],
    ["csv", 10, [ogr("CSV", "o.csv", "-lco", "GEOMETRY=AS_WKT"), duckTo("w", "format csv, header", "d.csv", "DuckDB, geometry ready as text"), py("csv", "p.csv")]],
    ["json", 2, [duckTo("w", "format json, array true", "d.json", "DuckDB, geometry ready as text")]],
    ["parquet", 0.9, [duckTo("t", "format parquet, compression snappy", "d.parquet", "DuckDB alone"), py("parquet", "p.parquet")]],
    ["feather", undefined, [py("feather", "p.feather")]],
    ["excel", 1.5, [ogr("XLSX", "o.xlsx")]],
    ["flatgeobuf", undefined, [ogr("FlatGeobuf", "o.fgb")]],
    ["gpkg", undefined, [ogr("GPKG", "o.gpkg")]],
  ];
  for (const [format, target, peers] of cases) {
    const there = peers.filter(Boolean), mine = { bytes: 0 };
    const row = await inTurn([{ label: "Moongate", run: async () => {
      const { ms, bytes } = await ours(format, 3);
      mine.bytes = bytes;
      return { value: ms };
    } }, ...there], { rounds, better: "lower" });
    row.ours.label += ` (${mine.bytes.toLocaleString("en")} bytes)`;
    row.peers.forEach((peer, i) => { peer.label += ` (${bytesOf(at(there[i].file)).toLocaleString("en")} bytes)`; });
    const missing = [!duck && "DuckDB", !hasArrow && "pyarrow"].filter(Boolean);
    results.push({ group, work: format, unit: "ms", target, ...row, missing,
      note: `${(mine.bytes / row.ours.median / 1e6).toFixed(2)} GB/s of output; ogr2ogr's time has its start and reading in it` });
  }
  for (const [format, most, work] of [["mvt-points", 1, "10,000 points"], ["mvt-polygons", 3, "2,000 polygons of 36 vertices"]]) {
    let size = 0;
    const row = await inTurn([{ label: "Moongate", run: async () => {
      const { ms, bytes } = await ours(format, 20, at(`${format}.mvt`));
      size = bytes;
      return { value: ms };
    } }], { rounds, better: "lower" });
    row.ours.label += ` (${size.toLocaleString("en")} bytes)`;
    results.push({ group: "A vector tile", work, unit: "ms", most, ...row });
  }
  return results;
}
