// The command line as a user meets it: what is printed, which exit code, and what a running server sees of it.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { build, cli, folder, program, request, serve, until, writeUdf } from "../lib/server.mjs";

const home = folder(), work = folder();
const env = { HOME: home, MOONGATE_DATA: join(home, "data"), XDG_DATA_HOME: "" };
const run = (args, more = {}) => cli(args, { env: { ...env, ...more }, cwd: work });
writeUdf(work, "Broken", "return moon.(");
writeUdf(work, "Raises", `local moon = require "moon"
return moon.udf(function() error("here") end, {})`);

// arguments, exit code, standard output, standard error, sentence
const rows = [
  [[], 2, /Usage: moongate COMMAND/, /^$/, "without a command: the list of them, called wrongly"],
  [["help"], 0, /serve .*\n.*run /, /^$/, "help lists the commands"],
  [["--help"], 0, /Usage: moongate COMMAND/, /^$/, "--help is help"],
  [["--version"], 0, /^moongate \d+\.\d+\.\d+\n$/, /^$/, "--version"],
  [["servr"], 2, /^$/, /no command "servr".*serve/, "a mistyped command gets a suggestion"],
  [["help", "token"], 0, /token create NAME/, /^$/, "help COMMAND"],
  [["serve", "--lisen", "x"], 2, /^$/, /no flag --lisen.*--listen/, "a mistyped flag gets a suggestion"],
  [["serve", "--workers", "many"], 2, /^$/, /workers.*many/, "a flag that wants a number"],
  [["serve", "--listen", "nonsense"], 1, /^$/, /nonsense: ADDR:PORT/, "an address that is none"],
  [["serve", "/nonexistent"], 1, /^$/, /\/nonexistent/, "a folder that is not there"],
  [["serve", "--tls-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--tls-cert", "/none", "--tls-key", "/none"], 1, /^$/, /\/none/, "a certificate that is not there"],
  [["new", "9lives"], 2, /^$/, /starts with a letter/, "a name that cannot be"],
  [["check", "Broken"], 1, /Broken\.lua:1/, /^$/, "check says where the mistake is"],
  [["check", "Nowhere"], 1, /^$/, /Nowhere: a folder is expected/, "check of nothing"],
  [["run", "Hello", "name=you"], 0, /^Hello from you!$/, /^$/, "run prints the answer"],
  [["run", "Hello", "nonsense=1"], 1, /^$/, /nonsense: There is no parameter/, "run names a parameter that is not there"],
  [["run", "Nobody"], 1, /^$/, /Nobody/, "run of a UDF that is not there"],
  [["run", "Raises"], 1, /^$/, /Raises\.lua:2: here/, "run shows the line of an error"],
  [["run", "World_Places", "--bounds", "8,47,9,47.8", "--format", "csv", "limit=2"], 0, /^name,country.*\r\n(.*\r\n){2}$/, /^$/, "run with bounds and a format"],
  [["run", "World_Places", "--bounds", "8,47,9"], 1, /^$/, /bounds/, "run with bounds that are none"],
  [["run", "Landsat_NDVI", "--tile", "12/1651/9999"], 1, /^$/, /below 2\^z/, "run of a tile out of range"],
  [["run", "Hello", "--format", "png"], 1, /^$/, /html/, "run in a format that cannot hold the value"],
  [["list"], 0, /^NAME.*\n(.*\n)*Hello .*example/, /^$/, "list"],
  [["token"], 2, /^$/, /create NAME/, "token without a verb"],
  [["token", "create", "Hello", "--expires", "soon"], 2, /^$/, /30d, 12h or 90s/, "a duration that is none"],
  [["token", "revoke", "nonsense"], 1, /^$/, /no such token/, "a token that is not there"],
  [["account"], 2, /^$/, /link/, "account without a verb"],
];
for (const [args, code, out, err, sentence] of rows)
  test(`moongate ${args.join(" ")}: ${sentence}`, () => {
    const answer = run(args);
    assert.equal(answer.code, code, answer.out + answer.err);
    assert.match(answer.out, out);
    assert.match(answer.err, err);
  });

for (const command of ["serve", "run", "new", "check", "list", "token", "account", "doctor"])
  test(`moongate ${command} --help says how it is called`, () => {
    const { code, out } = run([command, "--help"]);
    assert.equal(code, 0);
    assert.match(out, new RegExp(`^Usage: moongate ${command}`));
    assert.ok(out.trim().split("\n").length >= 3, out);
  });

test("new, check, run: a UDF that works as it is written", () => {
  const made = run(["new", "First_Try"]);
  assert.equal(made.code, 0, made.err);
  for (const file of ["First_Try.lua", "README.md", "meta.json", "utils.lua"]) assert.ok(existsSync(join(work, "First_Try", file)), file);
  assert.equal(run(["new", "First_Try"]).code, 1, "a second one does not overwrite it");
  assert.match(run(["check", "First_Try"]).out, /^First_Try: ok/);
  const ran = run(["run", "First_Try", "--format", "csv"]);
  assert.equal(ran.code, 0, ran.err);
  assert.ok(ran.out.split("\n").length > 3, ran.out);
});

test("check of a folder of UDFs finds the broken one, also as JSON", () => {
  const { code, out } = run(["check", ".", "--json"]);
  assert.equal(code, 1);
  assert.match(out, /"Broken"/);
  assert.match(out, /Broken\.lua:1/);
});

test("run -o writes a file", () => {
  const file = join(work, "tile.png"), ran = run(["run", "Landsat_NDVI", "--tile", "12/1651/2138", "-o", file]);
  assert.equal(ran.code, 0, ran.err);
  assert.deepEqual([PNG.sync.read(readFileSync(file)).width, run(["run", "Hello", "-o", "/nonexistent/x"]).code], [256, 1]);
});

test("run beside a server of the same data: it may write what the server may, and leaves nothing that the server cannot read", async () => {
  writeUdf(work, "Keeps", `local moon = require "moon"
local kept = moon.cache(function(n) return { n = n } end, { path = "kept" })
return moon.udf(function() moon.files.write("fd://note.txt", "x") return kept(1) end, {})`);
  const server = await serve([join(work, "Keeps")], { data: folder() });
  try {
    const owners = () => ["state", "cache", "cache/db", "cache/db/data.mdb", "orgs/local/cache", "orgs/local/fd", "orgs/local/layers"]
      .map((name) => statSync(join(server.data, name)).uid);
    await server.ready(); // a worker has made the folders
    const before = owners();
    for (let i = 0; i < 2; i++) {
      const got = run(["run", "Keeps", "--data", server.data]);
      assert.deepEqual([got.code, got.out, got.err], [0, '{"n":1}', ""]);
    }
    assert.deepEqual(owners(), before);
    for (const name of ["fd/note.txt", "cache/kept"])
      assert.equal(statSync(join(server.data, "orgs/local", name)).uid, before[4], name);
  } finally {
    await server.stop();
  }
});

test("doctor says that this machine can serve", () => {
  const { code, json } = run(["doctor", "--json"]);
  assert.equal(code, 0);
  assert.ok(json.checks.length >= 5 && json.checks.every((row) => row.check && row.status), JSON.stringify(json));
});

let server;
before(async () => {
  mkdirSync(join(work, "udfs"));
  copyFileSync(join(build, "share/data/L7_ETMs.tif"), join(work, "my scene.tif"));
  writeFileSync(join(work, "towns.geojson"), JSON.stringify({ type: "FeatureCollection", features: [
    { type: "Feature", properties: { name: "Olinda" }, geometry: { type: "Point", coordinates: [-34.855, -8.01] } },
    { type: "Feature", properties: { name: "Recife" }, geometry: { type: "Point", coordinates: [-34.881, -8.054] } }] }));
  writeUdf(join(work, "udfs"), "Mine", `local moon = require "moon"
return moon.udf(function() return "mine" end, {})`);
  server = await serve([join(work, "udfs"), join(work, "my scene.tif"), join(work, "towns.geojson")]);
  await server.ready();
});
after(() => server.stop());

const own = (args) => cli([...args, "--data", server.data], { env: { HOME: server.home, MOONGATE_DATA: "" } });
const status = async (token) => (await request(server, { path: `/${token}/run` })).status;

test("tokens: a running server sees each change with the next request", async () => {
  const made = own(["token", "create", "Mine", "--json"]).json;
  assert.equal(made.file_url, `${server.url}/${made.token}/run/file`);
  assert.equal(made.leaflet, `L.tileLayer("${made.tile_url}").addTo(map)`);
  assert.equal(await status(made.token), 200);
  assert.equal((await request(server, { path: new URL(made.file_url).pathname })).text, "mine");
  const listed = own(["token", "list", "--json"]).json.find((row) => row.id === made.id);
  assert.deepEqual([listed.udf, listed.state], ["Mine", "valid"]);
  assert.equal(listed.token, undefined, "a list shows no whole token");
  assert.equal(own(["token", "show", made.id, "--json"]).json.token, made.token);
  assert.equal(own(["token", "revoke", made.id]).code, 0);
  assert.equal(await status(made.token), 401);
  assert.equal(own(["token", "list", "--json"]).json.find((row) => row.id === made.id).state, "revoked");
  const brief = own(["token", "create", "Mine", "--expires", "1s", "--json"]).json.token;
  await until(async () => await status(brief) === 401, "it expires");
});

test("the credentials file is the owner's alone, and the token in it works", async () => {
  assert.equal(statSync(join(server.home, ".moongate/credentials")).mode & 0o777, 0o600);
  const answer = await request(server, { path: "/server/v1/realtime/x/api/v1/run/udf/saved/owner/Mine", headers: server.bearer() });
  assert.equal(answer.text, "mine");
});

test("account link: its page shows the private token once", async () => {
  const link = own(["account", "link"]).out.trim();
  assert.ok(link.startsWith(`${server.url}/login/`), link);
  const path = new URL(link).pathname;
  assert.equal((await request(server, { path, method: "HEAD" })).status, 405, "a look ahead does not use it up");
  const page = await request(server, { path });
  assert.equal(page.status, 200);
  assert.match(page.text, new RegExp(server.credentials().token));
  assert.equal(page.headers["cache-control"], "no-store");
  const again = await request(server, { path });
  assert.equal(again.status, 401, again.text);
  assert.doesNotMatch(again.text, new RegExp(server.credentials().token));
});

test("serve FILE: own files are on the map", async (t) => {
  const named = (pattern) => Object.entries(server.udfs).find(([name]) => pattern.test(name));
  await t.test("a raster", async () => {
    const [, token] = named(/^my_scene$/), tile = await request(server, { path: `/${token}/run/tiles/12/1651/2138.png` });
    assert.equal(tile.status, 200, tile.text);
    assert.ok(PNG.sync.read(tile.body).data.some((v, i) => i % 4 === 3 && v === 255), "some of it is there");
    const { center, bounds } = (await request(server, { path: `/${token}/tilejson.json` })).json;
    assert.ok(bounds[0] < center[0] && center[0] < bounds[2] && bounds[1] < center[1] && center[1] < bounds[3], `${bounds}`);
    assert.ok(bounds[2] - bounds[0] < 0.5 && bounds[3] - bounds[1] < 0.5, `bounds of the file, not of the world: ${bounds}`);
    assert.ok(Math.abs(center[0] + 34.87) < 0.1 && Math.abs(center[1] + 8) < 0.1 && center[2] > 8, `${center}`);
  });
  await t.test("a vector file", async () => {
    const [, token] = named(/^towns$/), answer = await request(server, { path: `/${token}.geojson` });
    assert.deepEqual(answer.json.features.map((f) => f.properties.name).sort(), ["Olinda", "Recife"]);
  });
  await t.test("the Leaflet line is printed", async () => {
    const child = spawn(program, ["serve", join(work, "my scene.tif"), "--no-examples", "--listen", "127.0.0.1:0", "--data", folder()],
      { env: { ...process.env, HOME: home }, stdio: ["ignore", "pipe", "ignore"] });
    let text = "";
    for await (const part of child.stdout) if ((text += part).includes(".addTo(map)")) break;
    child.kill();
    assert.match(text, /^listening on http:\/\/127\.0\.0\.1:\d+\n/);
    assert.match(text, /my_scene +http:\/\/\S+\/msh_\w+\/map/);
    assert.match(text, /L\.tileLayer\("http:\/\/127\.0\.0\.1:\d+\/msh_\w+\/run\/tiles\/\{z\}\/\{x\}\/\{y\}\.png"\)\.addTo\(map\)/);
  });
});
