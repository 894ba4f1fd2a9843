// Every URL, over HTTP/1.1 and HTTP/2: a row is a request and what its answer must be; its last word is the sentence
// that is printed when it fails.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { folder, freePort, request, raw, serve, writeUdf } from "../lib/server.mjs";

const dir = folder();
writeUdf(dir, "Say", `local moon = require "moon"
return moon.udf(function(name, n)
  print("heard " .. name)
  if n == 13 then error("unlucky") end
  return { name = name, n = n, text = string.rep("moongate ", 200) }
end, { name = "nobody", n = 1 })`);
writeUdf(dir, "Aged", `local moon = require "moon"
return moon.udf(function() return "aged" end, {}, { max_age = "90s" })`);
writeUdf(dir, "Nothing", `local moon = require "moon"
return moon.udf(function(bounds) return nil end, { bounds = moon.type.bounds(nil, { optional = true }) })`);
writeUdf(dir, "Own", `local moon = require "moon"
return moon.udf(function() return moon.response("teapot", "text/x-tea", 418, { ["X-Pot"] = "round" }) end, {})`);
writeUdf(dir, "Cookie", `local moon = require "moon"
return moon.udf(function() return moon.response("a", "text/plain", 200, { ["Set-Cookie"] = "a=b" }) end, {})`);

let server, token, tiles;
before(async () => {
  server = await serve([dir]);
  await server.ready();
  token = server.udfs.Say;
  tiles = server.udfs.Landsat_NDVI;
});
after(() => server.stop());

const json = { "content-type": "application/json" }, form = { "content-type": "application/x-www-form-urlencoded" };
const ndvi = "12/1651/2138";
const png = Buffer.from([0x89, 0x50, 0x4e, 0x47]);
const says = (name, n = 1) => (a) => assert.deepEqual([a.json.name, a.json.n], [name, n]);
const is = (type) => (a) => assert.match(a.headers["content-type"], type);
const isPng = (a) => { is(/^image\/png$/)(a); assert.deepEqual(a.body.subarray(0, 4), png); };
const code = (name) => (a) => { assert.equal(a.json.error.code, name); assert.equal(a.headers["x-fused-error"], name); };
const header = (name, value) => (a) => value instanceof RegExp ? assert.match(a.headers[name] ?? "", value)
  : assert.equal(a.headers[name], value);
const all = (...checks) => (a) => checks.forEach((check) => check(a));
const text = (value) => (a) => value instanceof RegExp ? assert.match(a.text, value) : assert.equal(a.text, value);

// path, what else is asked, status, check, sentence, whether HTTP/2 may close. 
// {T} is the token of Say, others see `named`.
const rows = [
  // run URLs, each generation
  ["/server/v1/realtime-shared/{T}/run/file?name=a", {}, 200, says("a"), "the classic shared file URL runs"],
  ["/server/v1/realtime-shared/{T}/run?name=a", {}, 200, says("a"), "the classic URL works without /file"],
  [`/server/v1/realtime-shared/{L}/run/tiles/${ndvi}`, {}, 200, isPng, "the classic shared tile URL runs"],
  [`/server/v1/realtime-shared/UDF_Landsat_NDVI/run/tiles/${ndvi}?dtype_out_raster=png`, {}, 200, isPng, "an example is public by name"],
  ["/UDF_Hello/run/file", {}, 200, text("Hello from Moongate!"), "the short URL takes a public name"],
  ["/{T}/run?name=b&n=2", {}, 200, says("b", 2), "the short run URL runs"],
  ["/{T}/run/file?name=b", {}, 200, says("b"), "the short file URL runs"],
  [`/{L}/run/tiles/${ndvi}`, {}, 200, isPng, "the short tile URL runs"],
  ["/{T}.json?name=c", {}, 200, all(says("c"), is(/^application\/json/)), "the extension URL runs"],
  [`/{L}/run/tiles/${ndvi}.webp`, {}, 200, is(/^image\/webp$/), "a tile's extension picks the format"],
  [`/{L}/run/tiles/${ndvi}@2x.png`, {}, 200, (a) => { isPng(a); assert.equal(a.body.readUInt32BE(16), 512); }, "@2x makes 512 pixels"],
  [`/{L}/run/tiles/${ndvi}?size=100`, {}, 200, (a) => { isPng(a); assert.equal(a.body.readUInt32BE(16), 100); }, "size= sets the pixels"],
  ["/{L}/run/tiles/12/1651/1957?tms=1", {}, 200, (a) => assert.equal(a.headers.etag, etags[ndvi]), "tms=1 counts y from the south: the same tile"],
  ["/{L}/run?z=12&x=1651&y=2138", {}, 200, isPng, "z, x and y as parameters make a tile call"],
  ["/server/v1/realtime/any/api/v1/run/udf/saved/owner@local/Say?name=d", { owner: true }, 200, says("d"), "the private URL takes the account's address"],
  ["/server/v1/realtime/any/api/v1/run/udf/saved/owner%40local/Say?name=d", { owner: true }, 200, says("d"), "the address may be escaped"],
  ["/server/v1/realtime/any/api/v1/run/udf/saved/owner/Say?name=d", { owner: true }, 200, says("d"), "the private URL takes the account's handle"],
  [`/server/v1/realtime/any/api/v1/run/udf/saved/owner@local/Landsat_NDVI/tiles/${ndvi}`, { owner: true }, 200, isPng, "the private tile URL runs"],
  ["/server/v1/realtime/any/api/v1/run/udf/saved/owner@local/Say", {}, 401, code("unauthorized"), "the private URL needs a Bearer"],
  ["/server/v1/realtime/any/api/v1/run/udf/saved/owner@local/Say", { headers: { authorization: "Bearer nonsense" } }, 401, code("unauthorized"), "a wrong Bearer is refused"],
  ["/server/v1/realtime/any/api/v1/run/udf/saved/someone@else/Say", { owner: true }, 404, code("not_found"), "another account's UDF does not exist"],
  ["/server/v1/realtime/any/api/v1/run/udf", { method: "POST", owner: true, headers: json, body: "{}" }, 404, text(/code inside a request/), "the ad hoc URL says what it does not do"],
  // parameters by POST
  ["/{T}/run", { method: "POST", headers: json, body: '{"name":"ö","n":3}' }, 200, says("ö", 3), "POST takes parameters as JSON"],
  ["/{T}/run?n=4", { method: "POST", headers: form, body: "name=x+y%21" }, 200, says("x y!", 4), "POST takes a form beside the query"],
  ["/{T}/run", { method: "POST", headers: json, body: "[1]" }, 400, code("invalid_request"), "a body that is no object is refused"],
  ["/{T}/run", { method: "POST", headers: json, body: '{"name":' }, 400, code("invalid_request"), "broken JSON is refused"],
  ["/{T}/run", { method: "POST", headers: { "content-type": "text/csv" }, body: "a" }, 415, code("unsupported_media_type"), "a body of another type is refused"],
  ["/{T}/run?name=%zz", {}, 400, code("invalid_request"), "a broken escape is refused"],
  ["/{T}/run?name=a%00b", {}, 400, code("invalid_request"), "a NUL is refused"],
  // methods
  ["/{T}/run?name=h", { method: "HEAD" }, 200, all(text(""), header("content-length", /^\d{4}$/)), "HEAD has the length and no body"],
  ["/{T}/run", { method: "OPTIONS", headers: { origin: "https://a.example", "access-control-request-method": "POST" } }, 204,
    all(header("access-control-allow-origin", "*"), header("access-control-allow-methods", /POST/), header("access-control-allow-headers", /Authorization/)), "OPTIONS allows any origin"],
  ["/{T}/run", { headers: { origin: "https://a.example" } }, 200, header("access-control-allow-origin", "*"), "shared answers are open to any origin"],
  ["/server/v1/realtime/x/api/v1/run/udf/saved/owner/Say", { owner: true }, 200, header("access-control-allow-origin", undefined), "private answers are not"],
  ["/{T}/run", { method: "DELETE" }, 405, all(code("method_not_allowed"), header("allow", "GET, HEAD, POST, OPTIONS")), "DELETE is refused, with the methods that are taken"],
  ["/health", { method: "POST" }, 405, all(code("method_not_allowed"), header("allow", "GET, HEAD, OPTIONS")), "POST to /health is refused"],
  // formats
  ["/{T}/run?format=png", {}, 406, all(code("not_acceptable"), text(/json/)), "a format that cannot hold the value is 406 and names one that can"],
  ["/{T}.png", {}, 406, code("not_acceptable"), "the same by extension"],
  ["/{T}/run?format=png,json", {}, 200, is(/json/), "the first format of a list that suits counts"],
  ["/{T}/run?format=nonsense", {}, 422, all(code("parameter"), text(/nonsense.*geojson/)), "an unknown format is 422 and names those that there are"],
  ["/{T}/run?dtype_out_vector=csv&dtype_out_raster=png", {}, 200, is(/json/), "a plain value goes its own way whatever the dtypes"],
  ["/{L}/run/tiles/12/1651/2138?dtype_out_vector=geojson&dtype_out_raster=webp", {}, 200, is(/webp/), "the kind picks between the two dtypes"],
  ["/{L}/run/tiles/12/1651/2138", { headers: { accept: "image/webp,image/*;q=0.8" } }, 200, all(is(/webp/), header("vary", /Accept/)), "Accept picks a format of ours"],
  ["/{L}/run/tiles/12/1651/2138", { headers: { accept: "image/png;q=0.1,image/webp;q=0.9" } }, 200, is(/webp/), "Accept's weights count"],
  ["/{L}/run/tiles/12/1651/2138", { headers: { accept: "*/*" } }, 200, isPng, "Accept of anything gets the default"],
  ["/{L}/run/tiles/12/1651/2138.jpg?jpg.quality=30", {}, 200, is(/jpeg/), "a codec's option is taken"],
  ["/{L}/run/tiles/12/1651/2138.jpg?jpg.quality=400", {}, 422, text(/quality/), "an option out of range is 422"],
  ["/{L}/run/tiles/12/1651/2138.jpg?jpg.nonsense=1", {}, 422, text(/nonsense/), "an unknown option is 422"],
  ["/{L}/run/tiles/12/1651/2138?size=9", {}, 422, text(/size/), "a size that is too small is 422"],
  ["/{T}/run?cache_max_age=soon", {}, 422, text(/cache_max_age/), "a duration that is none is 422"],
  ["/{N}/run", {}, 200, all(is(/^text\/plain/), text("")), "nil is empty on a file call"],
  ["/{N}/run/tiles/3/1/1", {}, 200, isPng, "nil is an empty image on a tile call"],
  ["/{N}/run/tiles/3/1/1.mvt", {}, 200, all(is(/vector-tile/), text("")), "nil is an empty vector tile where one is asked"],
  ["/{O}/run", {}, 418, all(text("teapot"), header("x-pot", "round"), is(/^text\/x-tea/)), "moon.response sets body, type, status and headers"],
  ["/{C}/run", { owner: true }, 500, all(text(/Cookie\.lua:2: .*Set-Cookie/), header("set-cookie", undefined)), "but no cookies"],
  ["/{L}/run", {}, 422, (a) => { example = new URL(a.text.match(/for example (http[^"]+)"/)[1]); assert.equal(a.json.detail[0].loc[1], "bounds"); }, "a missing place is 422 with an example"],
  ["{example}", {}, 200, isPng, "the example works"],
  // caching headers
  ["/{T}/run?name=e", {}, 200, all(header("cache-control", "no-cache"), header("etag", /^".+"$/)), "a shared answer is to be asked again by its ETag"],
  ["/server/v1/realtime/x/api/v1/run/udf/saved/owner/Say", { owner: true }, 200, header("cache-control", "private, no-cache"), "an answer for a Bearer is private"],
  ["/{A}/run", {}, 200, header("cache-control", "max-age=90"), "a max-age that the UDF sets is told"],
  ["/{T}/run?name=e", {}, 200, header("server-timing", /cache;desc=/), "Server-Timing says where the answer is from"],
  ["/{T}/run?name=timing&cache_max_age=0", {}, 200, header("server-timing", /queue;dur=.*lua;dur=.*encode;dur=/), "and how long each step took"],
  ["/{T}/run?name=gz", { headers: { "accept-encoding": "gzip" } }, 200, all(header("content-encoding", "gzip"), header("vary", /Accept-Encoding/), (a) => assert.equal(JSON.parse(gunzipSync(a.body)).name, "gz")), "text is compressed for who takes gzip"],
  ["/{T}/run?name=gz", { headers: { "accept-encoding": "identity" } }, 200, all(header("content-encoding", undefined), header("vary", /Accept-Encoding/), says("gz")), "and plain for others"],
  ["/{T}/run?name=gz", { headers: { "accept-encoding": "gzip;q=0, br" } }, 200, all(header("content-encoding", undefined), says("gz")), "gzip;q=0 means no gzip"],
  // who sees what
  ["/{T}/run?name=secret", {}, 200, header("x-fused-metadata", undefined), "a stranger sees no stdout"],
  ["/{T}/run?name=secret", { owner: true }, 200, (a) => assert.equal(JSON.parse(a.headers["x-fused-metadata"]).stdout, "heard secret\n"), "the owner sees stdout"],
  ["/{T}/run?n=13", {}, 500, (a) => { code("udf_error")(a); assert.doesNotMatch(a.text, /unlucky|traceback|Say\.lua/); }, "a stranger sees neither message nor line"],
  ["/{T}/run?n=13", { owner: true }, 500, (a) => { assert.match(a.json.detail, /^Say\.lua:4: unlucky/); assert.equal(a.json.error.line, 4); assert.match(a.json.error.traceback, /Say\.lua:4/); }, "the owner sees the line and the traceback"],
  ["/{T}/run?n=13", { owner: true }, 500, (a) => { const m = JSON.parse(a.headers["x-fused-metadata"]); assert.deepEqual([m.has_exception, m.lineno, m.stdout], [true, 4, "heard nobody\n"]); }, "X-Fused-Metadata names the line"],
  ["/{T}/run", {}, 200, header("x-fused-request-id", /^[0-9a-f]{16}$/), "each answer has an id"],
  ["/{T}/run", { headers: { "fused-recursion": "3" } }, 200, says("nobody"), "Fused-Recursion within the limit"],
  ["/{T}/run", { headers: { "fused-recursion": "6" } }, 508, code("depth"), "Fused-Recursion beyond it"],
  ["/{T}/run", { headers: { "fused-recursion": "99999999999999999999" } }, 508, code("depth"), "Fused-Recursion far beyond it"],
  ["/{T}/run", { headers: { "fused-recursion": "two" } }, 422, code("parameter"), "Fused-Recursion that is no number"],
  ["/{T}/run", { headers: { "fused-recursion": "-1" } }, 422, code("parameter"), "Fused-Recursion below zero"],
  ["/{T}/run", { headers: { "fused-recursion": "" } }, 422, code("parameter"), "Fused-Recursion that says nothing"],
  // pages
  ["/health", {}, 200, (a) => assert.equal(a.json.status, "ok"), "/health"],
  ["/ready", {}, 200, (a) => { assert.ok(a.json.workers > 0); assert.ok(a.json.sandbox.includes("seccomp") && a.json.sandbox.includes("landlock")); }, "/ready tells workers and sandbox layers"],
  ["/metrics", {}, 200, all(is(/^text\/plain/), text(/^# TYPE moongate_runs_total counter\nmoongate_runs_total \d+$/m)), "/metrics is Prometheus text"],
  ["/{L}/tilejson.json", {}, 200, (a) => { assert.equal(a.json.tilejson, "3.0.0"); assert.match(a.json.tiles[0], /\/run\/tiles\/\{z\}\/\{x\}\/\{y\}\.png$/); assert.equal(a.json.center.length, 3); }, "TileJSON"],
  ["/{L}/tilejson.json?low=0", {}, 200, (a) => assert.match(a.json.tiles[0], /\?low=0$/), "TileJSON hands parameters on"],
  ["/UDF_World_Places/tilejson.json", {}, 200, (a) => { assert.equal(a.json.vector_layers[0].id, "udf"); assert.match(a.json.tiles[0], /\.mvt$/); }, "TileJSON of vector tiles names the layer"],
  ["/{L}/map", {}, 200, all(is(/^text\/html/), text(/"kind":"raster"/), header("content-security-policy", /default-src 'self'/)), "the map page"],
  ["/", {}, 200, all(is(/^text\/html/), text(/World_Places/)), "the first page lists the examples"],
  ["/static/map.mjs", {}, 200, is(/javascript/), "the page's script"],
  ["/static/..%2f..%2fetc%2fpasswd", {}, 404, code("not_found"), "no file outside of the web folder"],
  // nothing there
  ["/nothing/at/all", {}, 404, code("not_found"), "an unknown path"],
  ["/UDF_Nothing_There/run", {}, 404, code("not_found"), "an unknown public name"],
  ["/UDF_Say/run", {}, 404, code("not_found"), "a served folder is not public by name"],
  ["/{T}", {}, 404, code("not_found"), "a token alone is no URL"],
  [`/${"a".repeat(9000)}`, {}, 414, () => {}, "a path over 8 kB", "closes"],
  ["/{T}/run", { headers: { "x-long": "a".repeat(33000) } }, 431, () => {}, "headers over 32 kB", "closes"],
  ["/{T}/run", { headers: Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`x-${i}`, "1"])) }, 431, () => {}, "more than 100 headers", "closes"],
  ["/{T}/run", { method: "POST", headers: json, body: `{"name":"${"a".repeat(70000)}"}` }, 413, () => {}, "a body over 64 kB without a Bearer", "closes"],
  ["/{T}/run", { method: "POST", owner: true, headers: json, body: `{"name":"${"a".repeat(70000)}"}` }, 200, (a) => assert.equal(a.json.name.length, 70000), "the same with a Bearer is taken"],
];

const etags = {};
let example;
const named = { T: "Say", L: "Landsat_NDVI", N: "Nothing", O: "Own", A: "Aged", C: "Cookie" };
const fill = (path) => path === "{example}" ? example.pathname + example.search
  : path.replace(/\{(\w)\}/, (_, letter) => server.udfs[named[letter]]);

for (const version of ["1.1", "2"])
  test(`HTTP/${version}`, async (t) => {
    etags[ndvi] = (await request(server, { path: `/${tiles}/run/tiles/${ndvi}` })).headers.etag;
    for (const [path, { owner, ...what }, status, check, sentence, closes] of rows)
      await t.test(sentence, async () => {
        const asked = request(server, {
          path: fill(path), version, ...what, headers: { ...what.headers, ...(owner ? server.bearer() : {}) },
        });
        // Over HTTP/2 the server may close the connection of who sends too much.
        const answer = await (closes && version === "2" ? asked.catch(() => ({ status, text: "" })) : asked);
        assert.equal(answer.status, status, answer.text.slice(0, 300));
        check(answer);
      });
  });

// Range and conditions are about one body: its bytes are known.
const conditions = [
  [{ range: "bytes=0-9" }, 206, (b) => b.subarray(0, 10), "bytes 0-9/", "the first ten bytes"],
  [{ range: "bytes=10-" }, 206, (b) => b.subarray(10), "bytes 10-", "from the tenth byte on"],
  [{ range: "bytes=-5" }, 206, (b) => b.subarray(b.length - 5), "bytes ", "the last five bytes"],
  [{ range: "bytes=-9999999" }, 206, (b) => b, "bytes 0-", "a suffix longer than the body is the body"],
  [{ range: "bytes=5-9999999" }, 206, (b) => b.subarray(5), "bytes 5-", "a range is cut at the end"],
  [{ range: "bytes=9999999-" }, 416, () => Buffer.alloc(0), "bytes */", "a range behind the end"],
  [{ range: "bytes=9-5" }, 200, (b) => b, undefined, "a range backwards is ignored"],
  [{ range: "bytes=0-1,4-5" }, 200, (b) => b, undefined, "two ranges are answered with the whole"],
  [{ range: "lines=1-2" }, 200, (b) => b, undefined, "another unit is ignored"],
  [{ range: "bytes=0-9", "if-range": "{E}" }, 206, (b) => b.subarray(0, 10), "bytes 0-9/", "If-Range with the ETag"],
  [{ range: "bytes=0-9", "if-range": '"other"' }, 200, (b) => b, undefined, "If-Range with another ETag"],
  [{ "if-none-match": "{E}" }, 304, () => Buffer.alloc(0), undefined, "If-None-Match with the ETag"],
  [{ "if-none-match": 'W/{E}, "x"' }, 304, () => Buffer.alloc(0), undefined, "If-None-Match with a list of weak ones"],
  [{ "if-none-match": "*" }, 304, () => Buffer.alloc(0), undefined, "If-None-Match with a star"],
  [{ "if-none-match": '"other"' }, 200, (b) => b, undefined, "If-None-Match with another ETag"],
  [{ "if-none-match": "{E}", range: "bytes=0-9" }, 304, () => Buffer.alloc(0), undefined, "If-None-Match goes before Range"],
];
for (const path of [`/UDF_Landsat_NDVI/run/tiles/${ndvi}`, "/{T}/run?name=range"])
  for (const version of ["1.1", "2"])
    test(`Range and conditions of ${path} over HTTP/${version}`, async (t) => {
      const url = path.replace("{T}", token);
      const whole = await request(server, { path: url, version });
      for (const [headers, status, part, range, sentence] of conditions)
        await t.test(sentence, async () => {
          const sent = Object.fromEntries(Object.entries(headers).map(([k, v]) => [k, v.replace("{E}", whole.headers.etag)]));
          const answer = await request(server, { path: url, version, headers: sent });
          assert.equal(answer.status, status);
          assert.deepEqual(answer.body, part(whole.body));
          assert.equal(answer.headers["content-range"]?.startsWith(range ?? "?") ?? false, range !== undefined);
          if (status === 304) assert.equal(answer.headers.etag, whole.headers.etag);
        });
    });

test("the two encodings of one answer have ETags of their own, and each revalidates its own", async () => {
  const [plain, packed] = await Promise.all(["identity", "gzip"].map((encoding) =>
    request(server, { path: `/${token}/run?name=etag`, headers: { "accept-encoding": encoding } })));
  assert.notEqual(plain.headers.etag, packed.headers.etag);
  for (const [etag, status] of [[plain.headers.etag, 200], [packed.headers.etag, 304]]) {
    const again = await request(server, { path: `/${token}/run?name=etag`, headers: { "accept-encoding": "gzip", "if-none-match": etag } });
    assert.equal(again.status, status, etag);
  }
});

test("a page of a UDF cannot act as this server's pages", async () => {
  const answer = await request(server, { path: "/UDF_Hello/run" });
  assert.match(answer.headers["content-security-policy"], /^sandbox(?!.*allow-same-origin)/);
});

test("--public-url is the base of every URL that is emitted", async () => {
  const port = await freePort();
  const other = await serve(["--public-url", "https://maps.example/base", "--listen", `127.0.0.1:${port}`]);
  assert.equal(other.url, "https://maps.example/base");
  other.url = `http://127.0.0.1:${port}`;
  try {
    const tilejson = await request(other, { path: "/UDF_Landsat_NDVI/tilejson.json" });
    assert.ok(tilejson.json.tiles[0].startsWith("https://maps.example/base/UDF_Landsat_NDVI/"), tilejson.json.tiles[0]);
  } finally {
    await other.stop();
  }
});

// What Node's client does not send.
const written = [
  ["GET /health HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 400 /, "a request without Host"],
  ["GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", /^HTTP\/1\.1 400 /, "Content-Length beside Transfer-Encoding"],
  ["GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", /^HTTP\/1\.1 400 /, "two lengths"],
  ["GET /health HTTP/1.0\r\n\r\n", /^HTTP\/1\.[01] 200 /, "HTTP/1.0 without Host is fine"],
  ["nonsense\r\n\r\n", /^HTTP\/1\.1 400 |^$/, "what is not HTTP"],
  ["GET /static/../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", /^HTTP\/1\.1 40[04] /, "dots in the path"],
  ["GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", /"status":"ok"[\s\S]*HTTP\/1\.1 200[\s\S]*"workers"/, "two requests in one write are both answered, in order"],
];
for (const [bytes, answer, sentence] of written)
  test(`by hand: ${sentence}`, async () => assert.match(await raw(server, bytes), answer));
