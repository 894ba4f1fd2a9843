// moon.http: what arrives at a server, what a UDF gets of its answers, retries, limits, the policy of egress, and how long
// a cached answer that was made of them holds.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import zlib from "node:zlib";
import { folder, request, serve, writeUdf, until } from "../lib/server.mjs";

const seen = [];
let active = 0, most = 0, failures = 0;
const remote = http.createServer((req, res) => {
  const parts = [];
  req.on("data", (part) => parts.push(part));
  req.on("end", () => {
    const url = new URL(req.url, "http://x"), body = Buffer.concat(parts).toString();
    seen.push({ method: req.method, path: url.pathname, search: url.search, headers: req.headers, body });
    const send = (status, headers, text) => { res.writeHead(status, headers); res.end(text); };
    const routes = {
      "/echo": () => send(200, { "content-type": "application/json", "x-one": "1", "set-cookie": ["a=1", "b=2"] },
        JSON.stringify({ method: req.method, query: url.search, type: req.headers["content-type"] ?? null, body })),
      "/gzip": () => send(200, { "content-encoding": "gzip" }, zlib.gzipSync("z".repeat(100000))),
      "/bomb": () => send(200, { "content-encoding": "gzip" }, zlib.gzipSync(Buffer.alloc(50 << 20))),
      "/big": () => send(200, {}, "x".repeat(3 << 20)),
      "/404": () => send(404, {}, "no   such\nthing"),
      "/flaky": () => ++failures <= 2 ? send(503, {}, "later") : send(200, {}, "at last"),
      "/after": () => ++failures <= 1 ? send(429, { "retry-after": "1" }, "slow down") : send(200, {}, "thanks"),
      "/500": () => send(500, {}, "broken"),
      "/hang": () => {},
      "/cut": () => { res.writeHead(200, { "content-length": 100 }); res.write("half"); setTimeout(() => res.destroy(), 20); },
      "/to": () => send(302, { location: url.searchParams.get("to") }, ""),
      "/loop": () => send(302, { location: "/loop" }, ""),
      "/see": () => send(303, { location: "/echo" }, ""),
      "/keep": () => send(307, { location: "/echo" }, ""),
      "/slow": () => { most = Math.max(most, ++active); setTimeout(() => { active--; send(200, {}, url.searchParams.get("i")); }, 100); },
      "/count": () => send(200, {}, String(seen.filter((s) => s.path === "/count").length)),
    };
    (routes[url.pathname] ?? (() => send(404, {}, "")))();
  });
});

const udfs = {
  // Evaluates the given code, so that each row of a table below is one request.
  Try: `local moon = require "moon"
    return moon.udf(function(code, base, id)
      local value, err = moon.try(assert(load("local moon, base = ... " .. code)), moon, base)
      if err then return { error = err.name, message = err.message } end
      return { value = value }
    end)`,
  Count: `local moon = require "moon"
    return moon.udf(function(base, age) return moon.http.get(base .. "/count", { max_age = age }):text() end, { base = "", age = 30 })`,
  Parent: `local moon = require "moon"
    return moon.udf(function(base, age) return "child " .. moon.run("Count", { base = base, age = age }) end, { base = "", age = 30 })`,
};
let server, base, port;
before(async () => {
  await new Promise((resolve) => remote.listen(0, "127.0.0.1", resolve));
  port = remote.address().port;
  base = `http://127.0.0.1:${port}`;
  const dir = folder();
  for (const [name, lua] of Object.entries(udfs)) writeUdf(dir, name, lua);
  server = await serve([dir, "--no-examples", "--allow-egress", "127.0.0.0/8", "--deny-egress", "127.0.0.9/32"]);
});
after(async () => {
  await server.stop();
  remote.closeAllConnections?.();
  remote.close();
});

const run = (udf, query) => request(server, { path: `/${server.udfs[udf]}/run?${new URLSearchParams(query)}` });
let id = 0;
const lua = async (code) => {
  const answer = await run("Try", { code, base, id: ++id });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
};

test("methods, bodies, headers, queries", async (t) => {
  const rows = [
    ['moon.http.get(base .. "/echo"):json()', { method: "GET", query: "", type: null, body: "" }],
    ['moon.http.get(base .. "/echo?a=1#f", { query = { b = "x y&", c = { 1, 2 }, d = true } }):json()',
      { method: "GET", query: "?a=1&b=x%20y%26&c=1&c=2&d=true", type: null, body: "" }],
    ['moon.http.post(base .. "/echo", { json = { a = { 1, 2 } } }):json()', { method: "POST", query: "", type: "application/json", body: '{"a":[1,2]}' }],
    ['moon.http.post(base .. "/echo", { form = { a = "x y", b = 2 } }):json()',
      { method: "POST", query: "", type: "application/x-www-form-urlencoded", body: "a=x%20y&b=2" }],
    ['moon.http.post(base .. "/echo", { body = "raw", headers = { ["Content-Type"] = "text/plain" } }):json()',
      { method: "POST", query: "", type: "text/plain", body: "raw" }],
    ['moon.http.post(base .. "/echo"):json()', { method: "POST", query: "", type: null, body: "" }],
    ['moon.http.request({ method = "put", url = base .. "/echo", body = "p" }):json()', { method: "PUT", query: "", type: null, body: "p" }],
    ['moon.http.request({ method = "DELETE", url = base .. "/echo" }):json()', { method: "DELETE", query: "", type: null, body: "" }],
    ['moon.http.request({ url = base .. "/echo", json = 1 }):json()', { method: "POST", query: "", type: "application/json", body: "1" }],
    ['moon.http.request({ method = "HEAD", url = base .. "/echo" }).body', ""],
    ['moon.http.get(base .. "/echo").headers["x-one"]', "1"],
    ['moon.http.get(base .. "/echo").headers["set-cookie"]', "a=1, b=2"],
    ['#moon.http.get(base .. "/gzip"):text()', 100000],
    ['moon.http.get(base .. "/404").status', 404],
    ['moon.http.get(base .. "/404").ok', false],
    ['moon.http.get(base .. "/404").body', "no   such\nthing"],
    ['moon.http.get(base .. "/to?to=/echo").url', () => `${base}/echo`],
    ['moon.http.get(base .. "/to?to=/echo", { follow = false }).status', 302],
    ['moon.http.post(base .. "/see", { json = 1 }):json().method', "GET"],
    ['moon.http.post(base .. "/keep", { json = 1 }):json().body', "1"],
  ];
  for (const [code, expected] of rows)
    await t.test(code, async () => assert.deepEqual((await lua(`return ${code}`)).value, typeof expected === "function" ? expected() : expected));
  await t.test("headers arrive as given, and only those", async () => {
    seen.length = 0;
    await lua('moon.http.get(base .. "/echo", { headers = { ["X-Key"] = "k", Accept = "a/b", ["X-Empty"] = "" } }) return 1');
    const { headers } = seen[0];
    assert.equal(headers["x-key"], "k");
    assert.equal(headers["x-empty"], "");
    assert.equal(headers.accept, "a/b");
    assert.match(headers["user-agent"], /^moongate\//);
    assert.equal(headers.cookie, undefined);
  });
});

test("mistakes and failures have names", async (t) => {
  const closed = await new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => { const { port: p } = probe.address(); probe.close(() => resolve(p)); });
  });
  const rows = [
    ['moon.http.get(base .. "/404"):json()', "fetch", /status 404: no such thing/],
    ['moon.http.get(base .. "/gzip"):json()', "fetch", /no JSON/],
    [`moon.http.get("http://127.0.0.1:${closed}/", { retry = 0 })`, "fetch", /refuses connections/],
    ['moon.http.get("http://no.such.host.invalid/", { retry = 0 })', "fetch", /no such host/],
    ['moon.http.get(base .. "/hang", { timeout = 0.3 })', "fetch_timeout", /in time/],
    ['moon.http.get(base .. "/cut", { retry = 0 })', "fetch", /./],
    ['moon.http.get(base .. "/loop")', "fetch", /more than 5/],
    ['moon.http.get(base .. "/big", { max_bytes = 1000000 })', "too_large", /max_bytes/],
    ['moon.http.get(base .. "/bomb", { max_bytes = 1000000 })', "too_large", /max_bytes/],
    ['moon.http.get(base .. "/to?to=file:///etc/passwd")', "egress", /not allowed/],
    ['moon.http.get(base .. "/to?to=http://10.0.0.1/")', "egress", /10\.0\.0\.1.*not a public address/],
    ['moon.http.get("http://169.254.169.254/latest/meta-data")', "egress", /not a public/],
    ['moon.http.get("http://[::ffff:10.0.0.1]/")', "egress", /not a public/],
    ['moon.http.get("http://0xa000001/")', "egress", /not a public/],
    [`moon.http.get("http://127.0.0.9:${1}/")`, "egress", /127\.0\.0\.9/],
    ['moon.http.get("http://[::ffff:127.0.0.9]/")', "egress", /127\.0\.0\.9/],
    ['moon.http.get("file:///etc/passwd")', "argument", /is not fetched/],
    ['moon.http.get("gopher://x/")', "argument", /is not fetched/],
    ['moon.http.get("http://a b/")', "argument", /blank/],
    ['moon.http.get(base, { headers = { ["A\\nB"] = "x" } })', "argument", /not a header's name/],
    ['moon.http.get(base, { headers = { A = "x\\r\\nHost: y" } })', "argument", /control character/],
    ['moon.http.get(base, { headers = { Host = "x" } })', "argument", /set by the server/],
    ['moon.http.get(base, { json = 1 })', "argument", /no body/],
    ['moon.http.post(base, { json = 1, body = "x" })', "argument", /one of json, form and body/],
    ['moon.http.get(5)', "argument", /expected a string, got/],
    ['moon.http.get(base, { time = 1 })', "argument", /no option time/],
    ['moon.http.get(base, { timeout = "1y" })', "argument", /timeout/],
    ['moon.http.post(base, { body = ("x"):rep(2000000) })', "argument", /at most/],
  ];
  for (const [code, name, message] of rows)
    await t.test(code, async () => {
      const got = await lua(`return ${code}`);
      assert.equal(got.error, name, JSON.stringify(got));
      assert.match(got.message, message);
    });
});

test("retries: of the network's failures and of busy servers, with a pause, of safe methods only", async () => {
  const count = (path) => seen.filter((s) => s.path === path).length;
  seen.length = failures = 0;
  assert.equal((await lua('return moon.http.get(base .. "/flaky"):text()')).value, "at last");
  assert.equal(count("/flaky"), 3);
  failures = 0;
  assert.equal((await lua('return moon.http.post(base .. "/flaky", { json = 1 }).status')).value, 503);
  assert.equal(count("/flaky"), 4);
  failures = 0;
  assert.equal((await lua('return moon.http.post(base .. "/flaky", { json = 1, retry = 3 }).status')).value, 200);
  failures = 0;
  const begin = Date.now();
  assert.equal((await lua('return moon.http.get(base .. "/after"):text()')).value, "thanks");
  assert.ok(Date.now() - begin >= 1000, "as long as Retry-After says");
  seen.length = 0;
  assert.equal((await lua('return moon.http.get(base .. "/500", { retry = 1 }).status')).value, 500);
  assert.equal(count("/500"), 2);
  seen.length = 0;
  await lua('return moon.http.get(base .. "/404").status');
  assert.equal(count("/404"), 1);
});

test("several at once: in order, so many at a time, the first failure or all of them", async () => {
  most = 0;
  const code = (concurrency) => `local out = {}
    for i, a in ipairs(moon.http.all(moon.range(12), function(i) return base .. "/slow?i=" .. i end, { concurrency = ${concurrency} })) do out[i] = a.body end
    return table.concat(out, ",")`;
  const order = Array.from({ length: 12 }, (_, i) => i + 1).join();
  assert.equal((await lua(code(4))).value, order);
  assert.equal(most, 4);
  most = 0;
  assert.equal((await lua(code(1))).value, order);
  assert.equal(most, 1);
  const failed = await lua('return moon.http.all({ base .. "/echo", "http://10.0.0.1/" })');
  assert.equal(failed.error, "egress");
  const partial = await lua(`local a = moon.http.all({ base .. "/echo", "http://10.0.0.1/", { url = base .. "/404" } }, nil, { partial = true })
    return { a[1].ok, a[2].ok, a[2].error.name, a[3].status }`);
  assert.deepEqual(partial.value, [true, false, "egress", 404]);
  assert.deepEqual((await lua("return { n = #moon.http.all({}) }")).value, { n: 0 });
  // More than one message holds.
  const many = await lua(`local answers = moon.http.all(moon.range(5), function(i) return { url = base .. "/echo", body = ("x"):rep(400000 + i) } end)
    local n = {} for i, a in ipairs(answers) do n[i] = #a:json().body end return n`);
  assert.deepEqual(many.value, [400001, 400002, 400003, 400004, 400005]);
});

test("a result that was made of an answer holds for max_age, also through another run", async () => {
  for (const [udf, prefix] of [["Count", ""], ["Parent", "child "]]) {
    seen.length = 0;
    const ask = async () => (await run(udf, { base, age: udf === "Count" ? 2 : 3 })).text;
    const first = await ask();
    assert.equal(first, `${prefix}1`);
    await until(async () => (await run(udf, { base, age: udf === "Count" ? 2 : 3 })).headers["x-cache"] === "hit", "it is cached");
    assert.equal(await ask(), first);
    await until(async () => (await ask()) !== first, "it is asked for again");
  }
});

test("a server that hangs up, and the fetcher's end, leave the gateway as it was", async () => {
  const hung = lua('return moon.http.get(base .. "/hang", { timeout = 20 })');
  await until(() => seen.some((s) => s.path === "/hang"), "the request arrives");
  const { processes } = await import("../lib/server.mjs");
  server.mayCrash = true;
  process.kill(processes(server).fetcher, "SIGKILL");
  assert.equal((await hung).error, "fetch");
  await until(async () => (await lua('return moon.http.get(base .. "/echo").status')).value === 200, "the next fetcher works");
});
