// Answers that a loop remembers by the bytes of the request: each is what the long way would give at this moment.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cli, folder, request, serve, until, writeUdf } from "../lib/server.mjs";

const dir = folder();
const udf = (body, parameters = "", spec = "{}", options = "") => `local moon = require "moon"
return moon.udf(function(${parameters}) ${body} end, ${spec}${options})`;
writeUdf(dir, "Text", udf('return "text " .. n', "n", "{ n = 1 }"));
writeUdf(dir, "Numbers", udf('return moon.table { { a = 1, b = "x" } }'));
writeUdf(dir, "Code", udf('return "v1"'));
writeUdf(dir, "Data", udf('return moon.read_vector("fd://points.csv"):rows()[1].name'));
writeUdf(dir, "Long", udf('return string.rep("0123456789", 1000)'));
writeUdf(dir, "Second", udf('return "brief"', "", "{}", ', { max_age = "2s" }'));
writeUdf(dir, "Revoked", udf('return "secret"'));
writeUdf(dir, "Other", udf('return "secret"'));

let server;
const data = folder();
const writeData = (name) => {
  mkdirSync(join(data, "orgs/local/fd"), { recursive: true });
  writeFileSync(join(data, "orgs/local/fd/points.csv"), `name,size\n${name},1\n`);
};
before(async () => {
  writeData("before");
  server = await serve([dir, "--no-examples", "--threads", "1"], { data });
  await server.ready();
});
after(() => server.stop());

const ask = (name, query = "", more = {}) =>
  request(server, { path: `/${server.udfs[name]}/run${query}`, ...more });
/** Asks until it is a hit, and then three times more, so that the answer comes from memory. */
async function remembered(name, query = "", more = {}) {
  await until(async () => (await ask(name, query, more)).headers["x-cache"] === "hit", `${name} is cached`);
  let answer;
  for (let i = 0; i < 3; i++) answer = await ask(name, query, more);
  return answer;
}
const varying = ["date", "age", "x-fused-request-id", "connection", "keep-alive"];
const constant = ({ status, headers, text }) => ({ status, text, headers: Object.entries(headers).filter(([k]) => typeof k === "string" && !varying.includes(k)).sort() });

for (const version of ["1.1", "2"])
  test(`a remembered answer equals the first hit, over HTTP/${version}`, async () => {
    const query = `?n=${version}`, hits = () => server.metric("moongate_cache_hits_total");
    await until(async () => (await ask("Text", "?n=3" + version[0], { version })).headers["x-cache"] === "hit", "cached");
    const one = await until(async () => {
      const answer = await ask("Text", query.replace(".", ""), { version });
      return answer.headers["x-cache"] === "hit" && answer;
    }, "a hit");
    const start = await hits(), ids = new Set();
    for (let i = 0; i < 4; i++) {
      const again = await ask("Text", query.replace(".", ""), { version });
      assert.deepEqual(constant(again), constant(one));
      assert.match(again.headers.age, /^\d+$/);
      assert.match(again.headers["x-fused-request-id"], /^[0-9a-f]{16}$/);
      ids.add(again.headers["x-fused-request-id"]);
    }
    assert.equal(ids.size, 4, "each answer has an id of its own");
    assert.equal(await hits() - start, 4);
  });

test("Accept and Accept-Encoding are part of what is remembered", async () => {
  const rows = [["text/csv", "gzip"], ["application/json", "gzip"], ["application/json", undefined], [undefined, "gzip"], ["text/html", "identity"]];
  const of = ([accept, encoding]) => ({ headers: { ...(accept && { accept }), ...(encoding && { "accept-encoding": encoding }) } });
  for (const row of rows) await remembered("Numbers", "", of(row));
  for (const row of [...rows, ...rows.toReversed?.() ?? rows]) {
    const { headers } = await ask("Numbers", "", of(row));
    assert.match(headers["content-type"], row[0] ? new RegExp(row[0]) : /json/, String(row));
  }
  const gzip = await remembered("Long", "", { headers: { "accept-encoding": "gzip" } });
  assert.equal(gzip.headers["content-encoding"], "gzip");
  const plain = await remembered("Long");
  assert.deepEqual([plain.headers["content-encoding"], plain.text.length], [undefined, 10000]);
});

test("HEAD, ranges, conditions, bodies and headers of ours go the long way", async () => {
  const whole = await remembered("Text", "?n=5"), { etag } = whole.headers;
  const rows = [
    [{ method: "HEAD" }, 200, "", "HEAD has no body"],
    [{ headers: { range: "bytes=0-3" } }, 206, "text", "a part"],
    [{ headers: { range: "bytes=900-" } }, 416, undefined, "a part outside"],
    [{ headers: { "if-none-match": etag } }, 304, "", "not modified"],
    [{ headers: { "if-none-match": '"other"' } }, 200, "text 5", "modified"],
    [{ headers: { "x-fused-cache-disable": "true" } }, 200, "text 5", "no cache"],
    [{ headers: { "fused-recursion": "9" } }, 508, undefined, "too deep"],
    [{ method: "POST", body: '{"n":6}', headers: { "content-type": "application/json" } }, 200, "text 5", "both say n: the URL's counts"],
    [{ method: "OPTIONS" }, 204, "", "a preflight"],
    [{ method: "DELETE" }, 405, undefined, "not a method of this URL"],
  ];
  for (const [more, status, text, sentence] of rows) {
    const answer = await ask("Text", "?n=5", more);
    if (more.method === "POST") assert.ok([200, 422].includes(answer.status), sentence);
    else {
      assert.equal(answer.status, status, sentence);
      if (text !== undefined) assert.equal(answer.text, text, sentence);
    }
    assert.equal((await ask("Text", "?n=5")).text, "text 5");
  }
  assert.equal((await ask("Text", "?n=5", { headers: { "x-fused-cache-disable": "true" } })).headers["x-cache"], "miss");
  const owner = await ask("Text", "?n=5", { headers: server.bearer() });
  assert.ok(owner.headers["x-fused-metadata"], "the owner sees what was printed");
  assert.equal((await ask("Text", "?n=5")).headers["x-fused-metadata"], undefined, "nobody else does");
});

test("a revocation holds on the very next request", async () => {
  for (const name of ["Revoked", "Other"]) {
    assert.equal((await remembered(name)).status, 200);
    const token = server.udfs[name];
    const done = cli(["token", "revoke", token, "--data", data], { env: { HOME: server.home } });
    assert.equal(done.code, 0, done.err);
    assert.equal((await ask(name)).status, 401);
  }
});

test("a save is in the very next answer, and the old code never comes back", async () => {
  await remembered("Code");
  for (let v = 2; v < 22; v++) {
    writeFileSync(join(dir, "Code/Code.lua"), udf(`return "v${v}"`));
    assert.equal((await ask("Code")).text, `v${v}`);
    assert.equal((await remembered("Code")).text, `v${v}`);
  }
  rmSync(join(dir, "Code"), { recursive: true });
  await until(async () => (await ask("Code")).status === 410, "gone");
});

test("a changed data file is seen within a second or so", async () => {
  assert.equal((await remembered("Data")).text, "before");
  writeData("afterwards");
  const start = Date.now();
  await until(async () => (await ask("Data")).text === "afterwards", "the new data");
  assert.ok(Date.now() - start < 5000);
});

test("a time to live ends while it is remembered", async () => {
  await remembered("Second");
  await until(async () => (await ask("Second")).headers["x-cache"] !== "hit", "it is spent");
});

test("a newer answer under the same key takes the place of a remembered one", async () => {
  await remembered("Text", "?n=40");
  const aged = await until(async () => {
    const answer = await ask("Text", "?n=40");
    return Number(answer.headers.age) >= 2 && answer;
  }, "it ages");
  await ask("Text", "?n=40&cache_max_age=1");
  await until(async () => Number((await ask("Text", "?n=40")).headers.age ?? 99) < Number(aged.headers.age), "the newer one is given");
});
