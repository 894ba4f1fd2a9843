// The result cache and what makes answers new: counters say how often something was computed.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import { closeSync, ftruncateSync, openSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { folder, request, serve, until, writeUdf } from "../lib/server.mjs";

const dir = folder();
const udf = (body, parameters = "", spec = "{}", options = "") => `local moon = require "moon"
return moon.udf(function(${parameters}) ${body} end, ${spec}${options})`;
// Busy for about n million steps: computed by the run itself, whatever the machine is worth.
const busy = "local s = 0 for i = 1, n * 1e6 do s = s + i % 7 end";
writeUdf(dir, "Slow", udf(`${busy} return "slow " .. n`, "bounds, n", "{ bounds = moon.type.bounds(nil, { optional = true }), n = 100 }"));
writeUdf(dir, "Endless", udf("while true do end", "a", "{ a = 1 }"));
writeUdf(dir, "Edit", udf('return "v1"'), { "utils.lua": "return { v = 1 }" });
writeUdf(dir, "Big", udf("return moon.json.encode(string.rep('0123456789', 300000))"));
writeUdf(dir, "Page", udf('return "page " .. n', "n", "{ n = 1 }"));
writeUdf(dir, "Fails", udf('error("each time")'));
writeUdf(dir, "Brief", udf('return "brief"', "", "{}", ', { max_age = "1s" }'));
writeUdf(dir, "Down", udf('if n <= 1 then return { depth = 1 } end return { depth = 1 + moon.run("Down", { n = n - 1, id = id }).depth }', "n, id", "{ n = 1, id = 1 }"));
writeUdf(dir, "Self", udf('return moon.run("Self", { n = n + 1 })', "n", "{ n = 1 }"));
writeUdf(dir, "Parent", udf('return { child = moon.run("Child", {}).v }'));
writeUdf(dir, "Child", udf("return { v = 1 }"));

let server;
const data = folder();
before(async () => {
  server = await serve([dir, "--no-examples"], { data });
  await server.ready();
});
after(() => server.stop());

const ask = (udf, query = "", more = {}) => request(server, { path: `/${server.udfs[udf]}/run${query}`, ...more });
const runs = () => server.metric("moongate_runs_total");
/** The answer, once it lies in the cache (it is stored just after it is sent). */
const cached = (udf, query) => until(async () => {
  const answer = await ask(udf, query);
  return answer.headers["x-cache"] === "hit" && answer;
}, `${udf} is not in the cache`);

test("1,000 concurrent requests for one cold tile make one computation", async () => {
  await ask("Slow", "?n=1");
  const [start, shared] = [await runs(), await server.metric("moongate_runs_shared_total")];
  const agent = new http.Agent({ maxSockets: 90, keepAlive: true });
  const path = `/${server.udfs.Slow}/run/tiles/3/1/1?n=100`;
  const answers = await Promise.all(Array.from({ length: 1000 }, () => request(server, { path, agent })));
  agent.destroy();
  assert.deepEqual(new Set(answers.map((a) => `${a.status} ${a.text}`)), new Set(["200 slow 100"]));
  assert.equal(await runs() - start, 1);
  assert.ok(await server.metric("moongate_runs_shared_total") > shared, "others waited for it");
});

test("the same over one HTTP/2 connection", async () => {
  const start = await runs();
  const path = `/${server.udfs.Slow}/run/tiles/3/1/2?n=60`;
  const answers = await Promise.all(Array.from({ length: 90 }, () => request(server, { path, version: "2" })));
  assert.ok(answers.every((a) => a.text === "slow 60"));
  assert.equal(await runs() - start, 1);
});

test("a hit says so, has an age, and does not run", async () => {
  const first = await ask("Page", "?n=11");
  assert.equal(first.headers["x-cache"], "miss");
  assert.equal(first.headers["x-fused-cached"], undefined);
  const hit = await cached("Page", "?n=11"), start = await runs();
  assert.deepEqual([hit.headers["x-fused-cached"], hit.text, hit.headers.etag], ["true", "page 11", first.headers.etag]);
  assert.match(hit.headers.age, /^\d+$/);
  assert.match(hit.headers["server-timing"], /^cache;desc=hit/);
  await ask("Page", "?n=11");
  assert.equal(await runs(), start);
});

test("a large answer is kept too, and sent whole", async () => {
  const big = await cached("Big");
  assert.equal(big.body.length, 3000002);
  const gzip = await ask("Big", "", { headers: { "accept-encoding": "gzip" } });
  assert.equal(gzip.headers["content-encoding"], "gzip");
});

test("errors are not kept", async () => {
  const start = await runs();
  for (let i = 0; i < 3; i++) assert.equal((await ask("Fails")).status, 500);
  assert.ok(await runs() - start >= 3);
});

test("a spent answer is sent once more while a new one is made", async () => {
  await cached("Brief");
  const stale = await until(async () => {
    const answer = await ask("Brief");
    return answer.headers["x-cache"] === "stale" && answer;
  }, "no stale answer");
  assert.deepEqual([stale.status, stale.text], [200, "brief"]);
  await until(async () => (await ask("Brief")).headers["x-cache"] === "hit", "the new answer");
  assert.ok(await server.metric("moongate_cache_stale_total") >= 1);
});

test("a caller's cache_max_age is not answered with an older one", async () => {
  const old = await cached("Page", "?n=12");
  await until(async () => Number((await ask("Page", "?n=12")).headers.age) >= 2, "the answer ages");
  const start = await runs();
  assert.equal((await ask("Page", "?n=12&cache_max_age=1")).headers["x-cache"], "miss");
  assert.equal(await runs() - start, 1);
  assert.equal(old.status, 200);
});

test("edits: code, helper and meta.json are in the next answer, and a save is never half seen", async (t) => {
  const path = join(dir, "Edit");
  const next = (text) => until(async () => {
    const answer = await ask("Edit");
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.text, /^v\d+$|^utils \d$/);
    return answer.text === text;
  }, `the answer is not ${text}`);
  await next("v1");
  await t.test("written in place", async () => {
    writeFileSync(join(path, "Edit.lua"), udf('return "v2"'));
    await next("v2");
  });
  await t.test("renamed into place, as editors do", async () => {
    writeFileSync(join(path, "Edit.lua~"), udf('return "v3"'));
    renameSync(join(path, "Edit.lua~"), join(path, "Edit.lua"));
    await next("v3");
  });
  await t.test("a helper", async () => {
    writeFileSync(join(path, "Edit.lua"), `local utils = require "utils"\n${udf('return "utils " .. utils.v')}`);
    await next("utils 1");
    writeFileSync(join(path, "utils.lua"), "return { v = 2 }");
    await next("utils 2");
  });
  await t.test("a writer that takes its time", async () => {
    const text = udf('return "v4"'), file = openSync(join(path, "Edit.lua"), "r+");
    ftruncateSync(file, 0);
    for (let at = 0; at < text.length; at += 10) {
      writeSync(file, text.slice(at, at + 10));
      assert.equal((await ask("Edit")).text, "utils 2");
    }
    closeSync(file);
    await next("v4");
  });
  await t.test("a broken save says so, and the next good one heals it", async () => {
    writeFileSync(join(path, "Edit.lua"), "return moon.(");
    await until(async () => (await ask("Edit")).status === 500, "the mistake shows");
    writeFileSync(join(path, "Edit.lua"), udf('return "v5"'));
    await until(async () => (await ask("Edit")).text === "v5", "healed");
  });
  await t.test("a new folder, a removed one", async () => {
    writeUdf(dir, "Later", udf('return "later"'));
    await until(async () => await server.metric("moongate_udfs") === Object.keys(server.udfs).length + 1, "the new UDF is seen");
    rmSync(join(dir, "Page"), { recursive: true });
    await until(async () => (await ask("Page")).status === 410, "the removed UDF is gone");
    writeUdf(dir, "Page", udf('return "page " .. n', "n", "{ n = 1 }"));
    await until(async () => (await ask("Page")).status === 200, "it is back");
  });
});

test("a changed child makes its parents new", async () => {
  await cached("Parent");
  assert.equal((await ask("Parent")).json.child, 1);
  writeFileSync(join(dir, "Child", "Child.lua"), udf("return { v = 2 }"));
  await until(async () => (await ask("Parent")).json.child === 2, "the parent's answer");
});

test("a client that goes away cancels its run, over HTTP/1.1 and HTTP/2", async () => {
  const cancelled = () => server.metric("moongate_runs_cancelled_total");
  const busyWorkers = () => server.metric("moongate_workers_busy");
  const start = await cancelled();
  assert.equal((await ask("Endless", "?a=x")).status, 422); // it is described: that run ends, and is no cancelled one
  const begun = await runs();
  const call = http.get(`${server.url}/${server.udfs.Endless}/run?a=1`).on("error", () => {});
  await until(async () => await runs() > begun && await busyWorkers() >= 1, "the run has begun");
  call.destroy();
  await until(async () => await cancelled() === start + 1, "it is cancelled");
  const http2 = await import("node:http2");
  const session = http2.connect(server.tlsUrl, { rejectUnauthorized: false });
  const stream = session.request({ ":path": `/${server.udfs.Endless}/run?a=2` }).on("error", () => {});
  await until(async () => await runs() > begun + 1 && await busyWorkers() >= 1, "the run has begun");
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await until(async () => await cancelled() === start + 2, "it is cancelled");
  session.close();
  assert.equal((await ask("Page", "?n=77")).text, "page 77");
});

test("a run that another waits for goes on when one goes away", async () => {
  const start = await server.metric("moongate_runs_cancelled_total"), path = `/${server.udfs.Slow}/run?n=101`;
  const shared = await server.metric("moongate_runs_shared_total");
  const leaver = http.get(server.url + path).on("error", () => {});
  const stayer = request(server, { path });
  await until(async () => await server.metric("moongate_runs_shared_total") > shared, "both wait for one run");
  leaver.destroy();
  assert.equal((await stayer).text, "slow 101");
  assert.equal(await server.metric("moongate_runs_cancelled_total"), start);
});

test("calls of UDFs five deep work with one worker; six are too deep", async () => {
  const one = await serve([dir, "--no-examples", "--workers", "1"]);
  try {
    await one.ready();
    const get = (name, query) => request(one, { path: `/${one.udfs[name]}/run${query}`, headers: one.bearer() });
    const five = await get("Down", "?n=6");
    assert.deepEqual([five.status, five.json.depth], [200, 6], five.text);
    const both = await Promise.all([2, 3, 4, 5].map((id) => get("Down", `?n=6&id=${id}`)));
    assert.deepEqual(both.map((a) => a.json.depth), [6, 6, 6, 6]);
    for (const [name, query] of [["Down", "?n=7&id=9"], ["Self", ""]]) {
      const deep = await get(name, query);
      assert.deepEqual([deep.status, deep.json.error?.code], [508, "depth"], deep.text);
    }
    assert.equal((await get("Down", "?n=2")).json.depth, 2);
  } finally {
    await one.stop();
  }
});

test("a restart keeps tokens and answers; a damaged cache is set aside", async (t) => {
  const kept = folder();
  let own = await serve([dir, "--no-examples"], { data: kept });
  await own.ready();
  const get = (query) => request(own, { path: `/${own.udfs.Page}/run${query}` });
  const first = own.udfs.Page;
  const hit = (query) => until(async () => (await get(query)).headers["x-cache"] === "hit", "it is cached");
  for (let n = 0; n < 20; n++) await get(`?n=${n}`);
  await hit("?n=19");
  const again = async () => {
    assert.equal(await own.stop({ keep: true }), 0);
    own = await serve([dir, "--no-examples"], { data: kept });
    await own.ready();
    assert.equal(own.udfs.Page, first, "the token is the same");
  };
  await t.test("a restart", async () => {
    await again();
    const answer = await get("?n=19");
    assert.deepEqual([answer.headers["x-cache"], answer.text], ["hit", "page 19"]);
    assert.equal(await own.metric("moongate_runs_total"), 0);
  });
  const files = (of) => readdirSync(join(kept, "cache"), { recursive: true }).map((f) => join(kept, "cache", f))
    .filter((f) => statSync(f).isFile() && of(f));
  const damage = {
    "bytes flipped all over": () => {
      for (const file of files((f) => f.endsWith("data.mdb"))) {
        const fd = openSync(file, "r+"), { size } = statSync(file);
        for (let at = 0; at < size; at += 512) writeSync(fd, Buffer.from([at * 7 & 255, 255, 1, 0x80]), 0, 4, at);
        closeSync(fd);
      }
    },
    "cut short": () => files((f) => f.endsWith("data.mdb")).forEach((f) => truncateSync(f, 5000)),
    "emptied": () => files((f) => f.endsWith("data.mdb")).forEach((f) => truncateSync(f, 0)),
    "not a database": () => files((f) => f.endsWith("data.mdb")).forEach((f) => writeFileSync(f, "nonsense ".repeat(10000))),
    "folder gone": () => rmSync(join(kept, "cache"), { recursive: true }),
  };
  for (const [how, harm] of Object.entries(damage))
    await t.test(how, async () => {
      assert.equal(await own.stop({ keep: true }), 0);
      harm();
      own = await serve([dir, "--no-examples"], { data: kept });
      await own.ready();
      assert.equal(own.udfs.Page, first, "the token is the same");
      for (let n = 0; n < 20; n++) assert.equal((await get(`?n=${n}`)).text, `page ${n}`);
      await hit("?n=3");
    });
  assert.equal(await own.stop(), 0);
});
