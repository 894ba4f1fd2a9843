// Bad input, from clients and from authors: each gives a typed error, the front stays the same process, the pool is whole
// again, and a good client that asks all the while never sees any of it.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, copyFileSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build, cli, folder, processes, request, root, serve, until, writeUdf } from "../lib/server.mjs";

const dir = folder(), files = folder();
const udf = (body, parameters = "", spec = "{}") => `local moon = require "moon"
return moon.udf(function(${parameters}) ${body} end, ${spec})`;
const deep = (n) => `return ${"(".repeat(n)}1${")".repeat(n)}`;

// name, Lua text, status, code, what the owner reads, sentence
const authors = [
  ["Raises", udf('error("on purpose")'), 500, "udf_error", /^Raises\.lua:2: on purpose/, "an error has its line"],
  ["RaisesTable", udf("error({})"), 500, "udf_error", /./, "an error that is a table"],
  ["RaisesNil", udf("error()"), 500, "udf_error", /./, "an error that is nil"],
  ["NilCall", udf("local t = nil; return t.x"), 500, "udf_error", /NilCall\.lua:2: .*index/, "an index of nil"],
  ["Syntax", "return moon.(", 500, "udf_broken", /Syntax\.lua:1/, "a syntax error"],
  ["NoUdf", "return 5", 500, "udf_broken", /must end in/, "a file that returns no UDF"],
  ["TopLevel", 'error("at load")', 500, "udf_broken", /at load/, "an error while the file is loaded"],
  ["Forever", udf("while true do end"), 504, "udf_timeout", /time limit of 2 s/, "an endless loop"],
  ["ForeverTop", "while true do end", 504, "udf_timeout", /time limit of 2 s/, "an endless loop while the file is loaded"],
  ["ForeverPcall", udf("while true do pcall(error) end"), 504, "udf_timeout", /time limit of 2 s/, "a loop that catches all"],
  ["Pattern", udf("return string.rep('a', 40):find(string.rep('a?', 40) .. string.rep('a', 41)) or 'none'"), 504, "udf_timeout", /time limit of 2 s/, "a pattern bomb"],
  ["Rep", udf("return #string.rep('x', 1073741824)"), 500, "udf_memory", /memory/, "a gigabyte of text"],
  ["Grow", udf("local t = {} for i = 1, 1e9 do t[i] = { i } end"), 500, "udf_memory", /memory/, "a table without end"],
  ["Swallow", udf("local t = {} while true do pcall(function() for i = 1, 1e7 do t[#t + 1] = ('x'):rep(1e5) .. i end end) end"), 500, "udf_memory", /./, "swallowed memory errors"],
  ["Wrap", udf("local function f() return coroutine.wrap(f)() end f()"), 500, "udf_crashed|udf_memory|udf_error", /./, "coroutine.wrap recursion"],
  ["Recursion", udf("local function f() return 1 + f() end return f()"), 500, "udf_error", /stack overflow/, "recursion without end"],
  ["Parens", deep(150000), 500, "udf_broken", /./, "150,000 parentheses"],
  ["Cyclic", udf("local t = {} t.t = t return t"), 500, "udf_type", /itself/, "a table that contains itself"],
  ["Function", udf("return print"), 500, "udf_type", /function/, "a function as the answer"],
  ["Huge", udf("return moon.json.encode(string.rep('x', 3e6))"), 500, "udf_output", /limit of 2097152 bytes/, "an answer over the limit"],
  ["HugeRaster", udf('return moon.read_raster("fd://L7_ETMs.tif", nil, { size = { 9000, 9000 } })'), 500, "argument|udf_output", /9000|size/, "a raster over the limit"],
  ["NoFile", udf('return moon.read_raster("fd://none.tif")'), 500, "no_file", /NoFile\.lua:2: read_raster: .*fd:\/\/none\.tif/, "a file that is not there is named"],
  ["NoBand", udf('return moon.read_raster("fd://L7_ETMs.tif", nil, { bands = 9 })'), 500, "argument", /no band 9 in fd:\/\/L7_ETMs\.tif \(it has 6\)/, "a band that is not there"],
  ["Broken", udf('return moon.read_raster("fd://files/broken.tif")'), 500, "bad_file", /fd:\/\/files\/broken\.tif/, "a broken file is named"],
  ["Cut", udf('return moon.read_raster("fd://files/cut.tif"):max()'), 500, "bad_file", /fd:\/\/files\/cut\.tif/, "a file that was cut short is named"],
  ["Vrt", udf('return moon.read_raster("fd://files/vrt.tif")'), 500, "bad_file", /VRT|refused|fd:\/\/files\/vrt\.tif/, "a VRT in a .tif's clothes"],
  ["NoCrs", udf('return moon.read_raster("fd://files/nocrs.tif", moon.tile.bounds(6, 32, 31))'), 500, "no_crs", /fd:\/\/files\/nocrs\.tif.*source_crs/, "a file without CRS is named, and what to do"],
  ["BadCrs", udf('return moon.read_raster("fd://L7_ETMs.tif", { -35, -8.1, -34.8, -7.9 }, { crs = "EPSG:99999999" })'), 500, "no_crs", /99999999/, "a CRS that cannot be found is named"],
  ["Wkt", udf('return moon.geometry("POINT(1")'), 500, "argument|udf_error", /./, "broken WKT from Lua"],
  ["Where", udf('return moon.read_vector("fd://places.fgb", { 0, 0, 1, 1 }, { where = "no such column = 1" })'), 500, "argument", /where|no such/, "a condition that is none"],
];
for (const [status, paths] of [
  [403, ["fd://../../../etc/passwd", "fd:///etc/passwd", "fd://files/link", "fd://files/../../../etc/passwd", "/mnt/cache/../../state/data.mdb"]],
  [500, ["/etc/passwd", "file:///etc/passwd", "fd://%2e%2e/x.tif", "/vsicurl/http://127.0.0.1/", "MEM:::DATAPOINTER=1", "/vsizip/fd://a.zip/a.tif",
    "/vsimem/x", "/vsistdin/", "GTIFF_DIR:1:/etc/passwd", "fd://files\\\\x", "", "fd://", "<VRTDataset/>", "WMS:http://127.0.0.1/"]],
])
  for (const path of paths)
    authors.push([`Path${authors.length}`, udf(`return moon.read_raster("${path}")`), status, "forbidden|no_file|bad_file|argument",
      /read_raster: (?!.*root:)/, `"${path}" is not read`]);
authors.push(["Healed", udf('return moon.read_raster("fd://files/nocrs.tif", moon.tile.bounds(6, 32, 31), { source_crs = "EPSG:4326", bands = 2 })'),
  500, "argument", /no band 2/, "source_crs helps a file without CRS"]);

// Lua that must not get what it tries for: each returns "safe", whatever way the refusal takes.
const escapes = [
  ["io", "return io == nil and 'safe' or 'io'"],
  ["os", "return (os == nil or (os.exit == nil and os.execute == nil and os.getenv == nil and os.remove == nil)) and 'safe' or 'os'"],
  ["ffi", "local ok, f = pcall(require, 'ffi') return ok and 'ffi' or 'safe'"],
  ["jit", "return package == nil and 'safe' or (package.loaded and package.loaded.ffi and 'ffi' or 'safe')"],
  ["debug", "return (debug == nil or debug.getregistry == nil) and 'safe' or 'debug'"],
  ["getfenv", "local ok, g = pcall(function() return getfenv(0) end) return ok and (g.io or g.require == nil and g.os and g.os.exit) and 'env' or 'safe'"],
  ["getfenvf", "local ok, g = pcall(function() return getfenv(pcall) end) return ok and g.io and 'env' or 'safe'"],
  ["bytecode", "if not loadstring then return 'safe' end local f = loadstring('\\27LJ\\2\\0') return f and 'loaded' or 'safe'"],
  ["dump", "local ok, code = pcall(function() return string.dump(function() end) end) if not ok then return 'safe' end local l = loadstring or load return l and l(code) and 'loaded' or 'safe'"],
  ["dofile", "return (dofile == nil and loadfile == nil) and 'safe' or 'files'"],
  ["strings", "local ok = pcall(function() getmetatable('').__index = { rep = error } end) return ok and 'metatable' or 'safe'"],
  ["newproxy", "return newproxy == nil and 'safe' or 'safe'"],
  ["modules", "local ok = pcall(require, 'lfs') local o = pcall(require, 'socket') return (ok or o) and 'module' or 'safe'"],
];

let server, good, front, stopGood = false, goodAnswers = 0;
const goodFaults = [];

before(async () => {
  writeFileSync(join(files, "broken.tif"), "II*\0 and then nonsense");
  const scene = join(build, "share/data/L7_ETMs.tif");
  copyFileSync(scene, join(files, "cut.tif"));
  execFileSync("truncate", ["-s", "200000", join(files, "cut.tif")]);
  execFileSync("gdal_translate", ["-q", "-of", "VRT", scene, join(files, "vrt.tif")]);
  execFileSync("gdal_create", ["-q", "-outsize", "10", "10", "-a_ullr", "-1", "1", "1", "-1", join(files, "nocrs.tif")]);
  symlinkSync("/etc/passwd", join(files, "link"));
  for (const [name, lua] of authors) writeUdf(dir, name, lua);
  for (const [name, body] of escapes) writeUdf(dir, `Escape_${name}`, udf(body));
  writeUdf(dir, "Good", udf('return "good " .. n', "n", "{ n = 1 }"));
  writeUdf(dir, "Poison", udf("string.format = nil; table.insert = nil; tostring = nil; x_global = 'left'; moon.udf = nil; return 'done'"));
  writeUdf(dir, "Poisoned", udf("return (string.format and table.insert and tostring and not x_global and moon.udf) and 'clean' or 'dirty'"));
  writeUdf(dir, "NoMeta", udf("return 1"), { "meta.json": "{ nonsense" });
  writeUdf(dir, "Shadow", udf("return 1"), { "string.lua": "return {}" });
  mkdirSync(join(dir, "NoFileAtAll"));
  writeFileSync(join(dir, "NoFileAtAll", "meta.json"), readFileSync(join(root, "udfs/Hello/meta.json")));
  server = await serve([dir, "--no-examples", "--timeout", "2", "--max-result", "2", "--lua-memory", "64", "--workers", "3",
    "--mount", `files=${files}`]);
  await server.ready();
  front = processes(server).front;
  good = (async () => {
    for (let n = 0; !stopGood; n++) {
      const answer = await request(server, { path: `/${server.udfs.Good}/run?n=${n % 50}` }).catch((error) => ({ status: 0, text: String(error) }));
      if (answer.status !== 200 || answer.text !== `good ${n % 50}`) goodFaults.push(`${answer.status} ${answer.text}`);
      else goodAnswers++;
    }
  })();
});
after(async () => {
  stopGood = true;
  await good;
  await server.stop();
  rmSync(files, { recursive: true });
});

const ask = (name, query = "", more = {}) => request(server, { path: `/${server.udfs[name]}/run${query}`, ...more });

for (const [name, , status, codes, text, sentence] of authors)
  test(`author: ${sentence}`, async () => {
    const answer = await ask(name, "", { headers: server.bearer() });
    assert.equal(answer.status, status, answer.text.slice(0, 500));
    assert.match(answer.json.error.code, new RegExp(`^(${codes})$`), answer.text.slice(0, 500));
    assert.match(answer.json.error.message, text);
    const stranger = await ask(name);
    assert.equal(stranger.status, status);
    assert.doesNotMatch(stranger.text, /traceback|\.lua:\d/);
  });

for (const [name] of escapes)
  test(`escape: ${name}`, async () => assert.equal((await ask(`Escape_${name}`, "", { headers: server.bearer() })).text, "safe"));

test("what one run does to its globals is gone in the next", async () => {
  for (let i = 0; i < 6; i++) {
    await ask("Poison", `?cache_max_age=0`);
    assert.equal((await ask("Poisoned", "?cache_max_age=0")).text, "clean");
  }
});

test("a broken folder keeps its URL, which says what is wrong", async (t) => {
  for (const [name, text] of [["NoMeta", /meta\.json/], ["Shadow", /string/], ["NoFileAtAll", /\.lua/]])
    await t.test(name, async () => {
      const answer = await ask(name, "", { headers: server.bearer() });
      assert.deepEqual([answer.status, answer.json.error.code], [500, "udf_broken"], answer.text);
      assert.match(answer.json.error.message, text);
    });
});

const tiles = ["-1/0/0", "25/0/0", "99/0/0", "1e9/0/0", "NaN/0/0", "a/b/c", "3/8/0", "3/0/8", "3/-1/0", "3/1.5/0", "3/0x1/0",
  "3/%31/0", "4294967299/0/0", "3/4294967297/0", "//", "3/1/", "3/1/1@3x", "+3/1/1", "3/ 1/1", "3/1/1%00"];
for (const tile of tiles)
  test(`tile ${tile} is out of range`, async () => {
    const answer = await request(server, { path: `/${server.udfs.Good}/run/tiles/${encodeURI(tile).replaceAll("%25", "%")}` });
    assert.ok(answer.status === 400 || answer.status === 404, `${answer.status} ${answer.text}`);
    if (!/\/$|^\//.test(tile)) assert.deepEqual([answer.status, answer.json.error.code], [400, "tile_range"]);
  });

test("unknown, malformed, mistyped and revoked tokens are one and the same 401", async () => {
  const made = cli(["token", "create", "Good", "--json", "--data", server.data], { env: { HOME: server.home } }).json.token;
  assert.equal((await request(server, { path: `/${made}/run` })).status, 200);
  assert.equal(cli(["token", "revoke", made, "--data", server.data], { env: { HOME: server.home } }).code, 0);
  const token = server.udfs.Good, flip = (text) => (text.at(-1) === "a" ? "b" : "a");
  const bodies = new Set();
  for (const wrong of [made, `${token.slice(0, -1)}${flip(token)}`, token.slice(0, -1), `${token}a`, "msh_", "msh_x", "fsh_abc", "a".repeat(64),
    "a".repeat(5000), "%00", "%ff", "msh_%2e%2e", server.credentials().token])
    for (const rest of ["/run", "/run/tiles/0/0/0", "/tilejson.json", "/map"]) {
      const answer = await request(server, { path: `/${wrong}${rest}` });
      assert.equal(answer.status, 401, `${wrong.slice(0, 80)}${rest}: ${answer.status} ${answer.text}`);
      bodies.add(answer.text.replace(/"request_id":"[^"]*"/, ""));
    }
  assert.equal(bodies.size, 1, [...bodies].join("\n"));
});

test("afterwards: the same front, all workers, and the good client saw nothing", async () => {
  const state = await until(async () => {
    const { json } = await request(server, { path: "/ready" });
    return json.status === "ready" && json.workers === 3 && json.queued === 0 && json;
  }, "three workers are ready again");
  assert.ok(state.sandbox.includes("seccomp"));
  assert.equal(processes(server).front, front);
  assert.deepEqual(goodFaults.slice(0, 5), []);
  assert.ok(goodAnswers > 100, `${goodAnswers} good answers`);
  assert.ok(await server.metric("moongate_deadlines_total") >= 4);
});
