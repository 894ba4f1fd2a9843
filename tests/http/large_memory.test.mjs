// What a large answer takes of the worker's memory and of the front's, beyond the value itself: the answer at most once
// in the worker, next to nothing in the front. Each number is a high-water mark of processes of its own.
import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { folder, processes, program, request, serve, writeUdf } from "../lib/server.mjs";

const MB = 1 << 20, dir = folder();
const sanitized = readFileSync(program).includes("__asan_init") || readFileSync(program).includes("__tsan_init");
// Each makes its value in both cases; `send` says whether it is the answer, or only a number of it.
const udf = (make, brief) => `local moon = require "moon"
return moon.udf(function(send)
  local value = ${make}
  if send then return value end
  return ${brief}
end, { send = false })`;
const digits = `string.rep("0123456789abcdef", 60 * 65536)`;
const band = `moon.read_raster("fd://olinda_dem_utm25s.tif", nil, { size = { 2048, 2048 } }) * 1.5`;
// name, UDF, parameters, how often the answer may lie in the worker beside the value
const kinds = [
  ["a string", "Text", udf(digits, "#value"), "", 0],
  ["a string with a type", "Typed", udf(`moon.response(${digits}, "application/octet-stream")`, "1"), "", 0],
  ["npy of a raster", "Npy", udf(`(function(b) return moon.raster { b, b, b } end)(${band})`, "value.width"), "&format=npy", 1],
  ["csv of a table", "Csv", udf(`moon.read_vector("fd://rows.csv")`, "#value"), "&format=csv", 1],
  ["geojson of a table", "Geo", udf(`moon.read_vector("fd://points.geojson")`, "#value"), "&format=geojson", 1],
];
for (const [, name, lua] of kinds) writeUdf(dir, name, lua);

// Files to read tables from (a worker that ran SQL ends with its run).
const name = (i) => Array.from({ length: 15 }, (_, k) => (Math.imul(i * 16 + k, 2654435761) >>> 0).toString(36).padStart(8, "0")).join("-");
const files = {
  "rows.csv": ["id,name"].concat(Array.from({ length: 380000 }, (_, i) => `${i},${name(i)}`)).join("\n"),
  "points.geojson": `{"type":"FeatureCollection","features":[${Array.from({ length: 230000 }, (_, i) =>
    `{"type":"Feature","properties":{"id":${i},"name":"${name(i)}"},"geometry":{"type":"Point","coordinates":[${i / 2000 - 60},${i % 170 - 85}]}}`).join(",\n")}]}`,
};
function dataFolder(file) {
  const data = folder();
  mkdirSync(join(data, "orgs/local/fd"), { recursive: true });
  if (file) writeFileSync(join(data, "orgs/local/fd", file), files[file]);
  return data;
}

/** Peaks of worker and front, in MB, of one server that answers this and nothing else; and the answer's own size. */
async function measure(name, query) {
  const server = await serve([dir, "--workers", "1"], { data: dataFolder({ Csv: "rows.csv", Geo: "points.geojson" }[name]) });
  try {
    await server.ready();
    const path = `/${server.udfs[name]}/run?${query}`, answer = await request(server, { path });
    assert.equal(answer.status, 200, answer.text.slice(0, 300));
    const packed = await request(server, { path, headers: { "accept-encoding": "gzip" } });
    const peak = (pid) => Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmHWM:\s+(\d+) kB/)[1]) * 1024 / MB;
    const { front, workers } = processes(server);
    return { answer, packed, bytes: answer.body.length / MB, worker: Math.max(...workers.map(peak)), front: peak(front) };
  } finally {
    await server.stop();
  }
}

for (const [what, name, , query, copies] of kinds)
  test(`${what}: at most ${copies ? "the answer" : "nothing"} and 16 MB beyond the value in the worker, 48 MB in the front`,
    { skip: sanitized && "a sanitizer's memory is not ours" }, async (t) => {
      const only = await measure(name, "send=false");
      const sent = await measure(name, `send=true${query}`);
      const { packed, worker, front } = sent;
      t.diagnostic(`answer ${sent.bytes.toFixed(1)} MB (gzip ${(packed.body.length / MB).toFixed(1)}); worker ${worker.toFixed(1)} MB, ` +
        `for the value alone ${only.worker.toFixed(1)}; front ${front.toFixed(1)}`);
      assert.ok(sent.bytes > 40 && sent.bytes <= 64, `${sent.bytes} MB`);
      const whole = packed.headers["content-encoding"] === "gzip" ? gunzipSync(packed.body) : packed.body;
      assert.ok(whole.equals(sent.answer.body), "the same bytes, both ways");
      assert.ok(worker - only.worker <= copies * sent.bytes + 16, `worker ${worker}, value ${only.worker}`);
      assert.ok(front <= 48, `front ${front}`);
    });
