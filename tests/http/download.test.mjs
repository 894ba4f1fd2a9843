// moon.download: how often the other server is asked, what is left of an ended run, what changes, archives.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import zlib from "node:zlib";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { build, folder, request, serve, writeUdf, until } from "../lib/server.mjs";

const scene = readFileSync(join(build, "share/data/L7_ETMs.tif"));
const noise = (n, seed) => {
  const bytes = Buffer.alloc(n);
  for (let i = 0, s = seed; i < n; i += 4) bytes.writeUInt32LE((s = (s * 1664525 + 1013904223) >>> 0), i);
  return bytes;
};
const tar = (files) => Buffer.concat([...Object.entries(files).flatMap(([name, text]) => {
  const head = Buffer.alloc(512), body = Buffer.from(text);
  head.write(name, 0); head.write("0000644\0", 100); head.write("0000000\0".repeat(2), 108);
  head.write(body.length.toString(8).padStart(11, "0") + "\0", 124); head.write("00000000000\0", 136);
  head.write("        0", 148); head.write("ustar\x0000", 257);
  head.write(head.reduce((a, b) => a + b, 0).toString(8).padStart(6, "0") + "\0 ", 148);
  return [head, body, Buffer.alloc((512 - body.length % 512) % 512)];
}), Buffer.alloc(1024)]);

const files = {
  "/scene.tif": { body: scene, etag: '"s1"' },
  "/big.bin": { body: noise(24 << 20, 1), etag: '"b1"' },
  "/slow.bin": { body: noise(6 << 20, 2), etag: '"w1"', delay: 150 },
  "/text": { body: Buffer.from("one"), etag: '"t1"' },
  "/set.tar.gz": { body: zlib.gzipSync(tar({ "a.csv": "x\n1\n", "deep/b.csv": "y\n2\n" })), etag: '"z1"' },
  "/zip/bad.tar.gz": { body: zlib.gzipSync(tar({ "ok.csv": "x", "../../escape": "x" })), etag: '"z2"' },
  "/list.csv.gz": { body: zlib.gzipSync("a,b\n1,2\n"), etag: '"z3"' },
  "/half": { body: noise(1 << 20, 3), etag: '"h1"', half: true },
};
let log = [];
const sent = (path) => log.filter((l) => l.path === path).reduce((a, l) => a + l.bytes, 0);
const remote = http.createServer((req, res) => {
  const file = files[req.url.split("?")[0]];
  const entry = { path: req.url.split("?")[0], range: req.headers.range, bytes: 0 };
  log.push(entry);
  if (!file) { res.writeHead(404); res.end("no"); return; }
  if (req.headers["if-none-match"] === file.etag) { res.writeHead(304, { etag: file.etag }); res.end(); return; }
  const [, from, to] = req.headers.range?.match(/^bytes=(\d+)-(\d+)$/) ?? [];
  const end = Math.min(to === undefined ? file.body.length - 1 : Number(to), file.body.length - 1), begin = Number(from ?? 0);
  const part = file.body.subarray(begin, end + 1);
  res.writeHead(from === undefined ? 200 : 206, { etag: file.etag, "content-length": part.length,
    ...(from === undefined ? {} : { "content-range": `bytes ${begin}-${end}/${file.body.length}` }) });
  if (file.half) { res.write(part.subarray(0, part.length / 2)); setTimeout(() => res.destroy(), 10); return; }
  if (!file.delay) { entry.bytes = part.length; res.end(part); return; }
  const pieces = [];
  for (let i = 0; i < part.length; i += 256 << 10) pieces.push(part.subarray(i, i + (256 << 10)));
  const step = () => {
    if (res.destroyed) return;
    const piece = pieces.shift();
    if (!piece) { res.end(); return; }
    entry.bytes += piece.length;
    res.write(piece, () => setTimeout(step, file.delay));
  };
  step();
});

const udfs = {
  Get: `local moon = require "moon"
    return moon.udf(function(url, path, age, unpack, id)
      local name, err = moon.try(moon.download, url, path, { max_age = age, unpack = unpack })
      return err and { error = err.name, message = err.message } or { name = name, size = moon.files.stat(name).size }
    end, { url = "", path = "", age = 60, unpack = false, id = 0 })`,
  Tile: `local moon = require "moon"
    return moon.udf(function(bounds, url)
      local b = moon.read_raster(moon.download(url, "tiles/scene.tif"), bounds, { bands = { red = 3 } })
      return b.red:colour("viridis", 0, 255)
    end, { bounds = moon.type.tile, url = "" })`,
  Slow: `local moon = require "moon"
    return moon.udf(function(url, id) return moon.files.stat(moon.download(url, "slow.bin")).size end, { url = "", id = 0 }, { timeout = "1s" })`,
  Long: `local moon = require "moon"
    return moon.udf(function(url, id) return { size = moon.files.stat(moon.download(url, "slow.bin")).size } end, { url = "", id = 0 })`,
};
let server, base, cache;
before(async () => {
  await new Promise((resolve) => remote.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${remote.address().port}`;
  const dir = folder();
  for (const [name, lua] of Object.entries(udfs)) writeUdf(dir, name, lua);
  server = await serve([dir, "--no-examples", "--allow-egress", "127.0.0.0/8", "--workers", "4"]);
  cache = join(server.data, "orgs/local/cache");
});
after(async () => {
  await server.stop();
  remote.closeAllConnections?.();
  remote.close();
});
let id = 0;
const get = async (path, more = {}) => {
  const answer = await request(server, { path: `/${server.udfs.Get}/run?${new URLSearchParams({ url: base + path, path: path.slice(1), id: ++id, ...more })}` });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
};
const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");
const visible = (dir) => readdirSync(dir).filter((name) => !name.startsWith(".moongate-got-"));

test("sixteen tiles at once make one download, and are tiles of the scene", async () => {
  log = [];
  const tiles = [];
  for (let x = 0; x < 4; x++) for (let y = 0; y < 4; y++) tiles.push(`12/${1646 + x}/${2138 + y}`);
  const answers = await Promise.all(tiles.map((tile) =>
    request(server, { path: `/${server.udfs.Tile}/run/tiles/${tile}?url=${encodeURIComponent(base + "/scene.tif")}` })));
  for (const answer of answers) assert.equal(answer.status, 200, answer.text);
  assert.ok(sent("/scene.tif") <= scene.length + (64 << 10), `${sent("/scene.tif")} bytes for ${scene.length}`);
  assert.equal(sha(readFileSync(join(cache, "tiles/scene.tif"))), sha(scene));
  assert.deepEqual(visible(join(cache, "tiles")), ["scene.tif"]);
});

test("a large file is whole, and asked for again only when it is old or has changed", async () => {
  log = [];
  const { name, size } = await get("/big.bin");
  assert.equal(name, "/mnt/cache/big.bin");
  assert.equal(size, 24 << 20);
  assert.equal(sha(readFileSync(join(cache, "big.bin"))), sha(files["/big.bin"].body));
  assert.ok(sent("/big.bin") <= (24 << 20) + (64 << 10));
  log = [];
  await get("/big.bin");
  assert.equal(log.length, 0, "it is new enough");
});

test("a file that is not the one that was downloaded any more is brought anew", async () => {
  await get("/text");
  assert.equal(readFileSync(join(cache, "text"), "utf8"), "one");
  const { writeFileSync, rmSync } = await import("node:fs");
  writeFileSync(join(cache, "text"), "spoilt");
  await get("/text");
  assert.equal(readFileSync(join(cache, "text"), "utf8"), "one");
  rmSync(join(cache, "text"));
  await get("/text");
  assert.equal(readFileSync(join(cache, "text"), "utf8"), "one");
  // Another URL for the same name is another file.
  files["/other"] = { body: Buffer.from("other"), etag: '"o1"' };
  await get("/other", { path: "text" });
  assert.equal(readFileSync(join(cache, "text"), "utf8"), "other");
});

test("an ended run leaves what it has: the next goes on with it", async () => {
  log = [];
  const first = await request(server, { path: `/${server.udfs.Slow}/run?${new URLSearchParams({ url: `${base}/slow.bin` })}` });
  assert.equal(first.status, 504, first.text);
  assert.equal(existsSync(join(cache, "slow.bin")), false, "no half file stands under the name");
  const second = await request(server, { path: `/${server.udfs.Long}/run?${new URLSearchParams({ url: `${base}/slow.bin`, id: 1 })}` });
  assert.equal(second.status, 200, second.text);
  assert.equal(second.json.size, 6 << 20);
  assert.equal(sha(readFileSync(join(cache, "slow.bin"))), sha(files["/slow.bin"].body));
  assert.ok(sent("/slow.bin") < (6 << 20) * 1.2, `${sent("/slow.bin")} bytes in all`);
});

test("failures have names and leave nothing", async () => {
  for (const [path, name] of [["/missing", "fetch"], ["/half", "fetch"]]) {
    const got = await get(path);
    assert.equal(got.error, name, JSON.stringify(got));
    assert.equal(existsSync(join(cache, path)), false);
  }
  const left = readdirSync(cache).filter((n) => n.startsWith(".moongate-part-"));
  // The worker of the run that was ended above could not tidy up; an hour later the next count of the quota does.
  assert.ok(left.length <= 1, left.join());
  assert.equal((await get("/text", { path: "../up" })).error, "forbidden");
  assert.equal((await get("/text", { path: "/etc/x" })).error, "argument");
  assert.equal((await get("/text", { path: "fd://text" })).name, "fd://text");
  assert.equal((await get("", { url: "http://10.0.0.1/x", path: "x" })).error, "fetch");
});

test("archives become folders, and hostile ones an error", async () => {
  assert.equal((await get("/set.tar.gz", { path: "set", unpack: true })).name, "/mnt/cache/set");
  assert.equal(readFileSync(join(cache, "set/a.csv"), "utf8"), "x\n1\n");
  assert.equal(readFileSync(join(cache, "set/deep/b.csv"), "utf8"), "y\n2\n");
  await get("/list.csv.gz", { path: "list/", unpack: true });
  assert.equal(readFileSync(join(cache, "list/list.csv"), "utf8"), "a,b\n1,2\n");
  const bad = await get("/zip/bad.tar.gz", { path: "bad", unpack: true });
  assert.equal(bad.error, "bad_file", JSON.stringify(bad));
  assert.match(bad.message, /leads out/);
  assert.equal(existsSync(join(server.data, "orgs/local/escape")) || existsSync(join(server.data, "orgs/escape")), false);
  assert.equal((await get("/text", { path: "plain", unpack: true })).error, "bad_file");
});
