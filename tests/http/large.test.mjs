// Answers over 1 MB: sent and kept from the descriptor that the worker sealed, so that the front never holds them.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import { folder, processes, program, request, serve, until, writeUdf } from "../lib/server.mjs";

const MB = 1 << 20, dir = folder();
// Bytes of a media type of its own, which nothing compresses on the way.
writeUdf(dir, "Bytes", `local moon = require "moon"
return moon.udf(function(mb, seed)
  local one = (seed .. string.rep("0123456789abcdef", 65536)):sub(1, 1048576)
  return moon.response(string.rep(one, mb), "application/octet-stream")
end, { mb = 64, seed = "s" })`);

let server;
before(async () => {
  server = await serve([dir, "--no-examples", "--workers", "1"]);
  await server.ready();
});
after(() => server.stop());

const path = (seed, mb = 64) => `/${server.udfs.Bytes}/run?mb=${mb}&seed=${seed}`;
/** Bytes of memory that a process ever held at once. */
const peak = (pid) => Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmHWM:\s+(\d+) kB/)[1]) * 1024;
const expected = (seed, mb = 64) => createHash("sha256")
  .update((seed + "0123456789abcdef".repeat(65536)).slice(0, MB).repeat(mb)).digest("hex");

/** Reads an answer without keeping it: {status, headers, bytes, hash}; waits `pause_ms` after every `each` bytes. */
function drain(stream, head, { each = Infinity, pause_ms = 0 } = {}) {
  return new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    let bytes = 0, since = 0;
    stream.on("data", (part) => {
      hash.update(part);
      bytes += part.length;
      since += part.length;
      if (since > each) {
        since = 0;
        stream.pause();
        setTimeout(() => stream.resume(), pause_ms);
      }
    });
    stream.on("end", () => resolve({ ...head(), bytes, hash: hash.digest("hex") }));
    stream.on("error", reject);
  });
}
const ways = {
  "HTTP/1.1": (url, how) => new Promise((resolve, reject) => http.get(server.url + url, { agent: false }, (answer) =>
    drain(answer, () => ({ status: answer.statusCode, headers: answer.headers }), how).then(resolve, reject)).on("error", reject)),
  "HTTP/1.1 over TLS": (url, how) => new Promise((resolve, reject) => https.get(server.tlsUrl + url, { agent: false, rejectUnauthorized: false }, (answer) =>
    drain(answer, () => ({ status: answer.statusCode, headers: answer.headers }), how).then(resolve, reject)).on("error", reject)),
  "HTTP/2 over TLS": async (url, how) => {
    const session = http2.connect(server.tlsUrl, { rejectUnauthorized: false });
    const stream = session.request({ ":path": url });
    let headers;
    stream.on("response", (h) => { headers = h; });
    const answer = await drain(stream, () => ({ status: headers[":status"], headers }), how);
    session.close();
    return answer;
  },
};

for (const [i, [name, get]] of Object.entries(ways).entries())
  test(`64 MB over ${name}: whole, computed and from the cache, also to a slow reader`, async () => {
    const seed = `w${i}`;
    const first = await get(path(seed));
    assert.deepEqual([first.status, first.bytes, first.hash], [200, 64 * MB, expected(seed)]);
    assert.equal(first.headers["x-cache"], "miss");
    const kept = await until(async () => {
      const answer = await get(path(seed));
      return answer.headers["x-cache"] === "hit" && answer;
    }, "it is kept");
    assert.deepEqual([kept.bytes, kept.hash, kept.headers.etag], [64 * MB, first.hash, first.headers.etag]);
    const slow = await get(path(seed), { each: 4 * MB, pause_ms: 30 });
    assert.deepEqual([slow.bytes, slow.hash], [64 * MB, first.hash]);
  });

test("several readers of one large answer at once, one of whom goes away", async () => {
  const leaver = http.get(server.url + path("many", 16), { agent: false }, (answer) => answer.once("data", () => answer.destroy()));
  leaver.on("error", () => {});
  const answers = await Promise.all(Object.values(ways).flatMap((get) => [get(path("many", 16)), get(path("many", 16))]));
  assert.deepEqual(new Set(answers.map((a) => a.hash)), new Set([expected("many", 16)]));
});

test("parts of a large answer, HEAD and conditions", async () => {
  const whole = await until(async () => {
    const answer = await ways["HTTP/1.1"](path("part", 3));
    return answer.headers["x-cache"] === "hit" && answer;
  }, "it is kept");
  for (const version of ["1.1", "2"]) {
    const ask = (headers, method = "GET") => request(server, { path: path("part", 3), headers, method, version });
    const rows = [["bytes=0-9", 10], ["bytes=1500000-2999999", 1500000], ["bytes=-5", 5], [`bytes=${3 * MB - 1}-`, 1]];
    for (const [range, bytes] of rows) {
      const part = await ask({ range });
      assert.deepEqual([part.status, part.body.length], [206, bytes], range);
    }
    assert.equal((await ask({ range: `bytes=${3 * MB}-` })).status, 416);
    const head = await ask({}, "HEAD");
    assert.deepEqual([head.status, head.headers["content-length"], head.body.length], [200, String(3 * MB), 0]);
    assert.equal((await ask({ "if-none-match": whole.headers.etag })).status, 304);
  }
});

test("the front never held a large answer in its memory", async () => {
  const held = peak(processes(server).front) / MB;
  const most = readFileSync(program).includes("__asan_init") ? 1024 : 48; // ASan keeps what was freed
  assert.ok(held <= most, `the front held ${held.toFixed(1)} MB`);
});
