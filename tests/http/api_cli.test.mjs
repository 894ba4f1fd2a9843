// push, pull and login against a running server.
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { cli, folder, serve, writeUdf } from "../lib/server.mjs";

const hello = (word) => `local moon = require "moon"\nreturn moon.udf(function() return "${word}" end)\n`;
let server, env;
before(async () => { server = await serve(); await server.ready(); env = { HOME: server.home }; });
after(() => server.stop());
const run = (args, more = {}) => cli(args, { env: { ...env, ...more.env }, cwd: more.cwd });

test("push saves a folder with its README; pull writes the same files", () => {
  const dir = folder(), out = folder();
  const udf = writeUdf(dir, "Pushed", hello("one"), { "README.md": "# Pushed\n", "utils.lua": "return {}\n" });
  const first = run(["push", udf, "--json"]);
  assert.equal(first.code, 0, first.err);
  assert.equal(first.json.version, 1);
  assert.match(run(["push", udf]).out, /^Pushed: version 1$/m, "unchanged");
  writeUdf(dir, "Pushed", hello("two"));
  assert.match(run(["push", udf]).out, /^Pushed: version 2$/m);
  assert.equal(run(["pull", "Pushed", "-o", out]).code, 0);
  for (const [file, text] of [["Pushed.lua", hello("two")], ["README.md", "# Pushed\n"], ["utils.lua", "return {}\n"]])
    assert.equal(readFileSync(join(out, "Pushed", file), "utf8"), text);
  assert.equal(run(["pull", "Pushed", "-o", out]).code, 0, "what is the same is no conflict");
  writeFileSync(join(out, "Pushed/Pushed.lua"), "-- mine\n");
  const refused = run(["pull", "Pushed", "-o", out]);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /differs/);
  assert.equal(readFileSync(join(out, "Pushed/Pushed.lua"), "utf8"), "-- mine\n");
});

test("what the server finds broken is told with line and column, and is not saved", () => {
  const dir = folder();
  const answer = run(["push", writeUdf(dir, "Bad", 'local moon = require "moon"\nlocal x = ]\n')]);
  assert.equal(answer.code, 1);
  assert.match(answer.err, /Bad\.lua:2: unexpected symbol near '\]' \(column 11\)/);
  assert.equal(run(["pull", "Bad", "-o", dir]).code, 1);
});

test("wrong calls", () => {
  for (const [args, code, message] of [
    [["push"], 2, /which folders/], [["pull"], 2, /which UDFs/], [["push", "/nonexistent"], 1, /cannot open/],
    [["pull", "../up"], 1, /name of a UDF/], [["pull", "Nothing_There"], 1, /no such UDF/],
    [["login"], 2, /expected/], [["login", "http://127.0.0.1:9"], 2, /--token/],
    [["push", ".", "--server", "http://127.0.0.1:9"], 2, /no token/],
    [["pull", "X", "--server", "http://127.0.0.1:9", "--token", "msh_x"], 1, /127\.0\.0\.1:9/],
    [["pull", "X", "--server", "ftp://x", "--token", "y"], 2, /which server/]]) {
    const answer = run(args);
    assert.equal(answer.code, code, `${args}: ${answer.err}`);
    assert.match(answer.err, message, args.join(" "));
  }
});

test("login keeps a token that works, by --token and by a one-time link", () => {
  const home = folder(), file = join(home, ".moongate/credentials");
  const { token } = server.credentials();
  assert.equal(run(["login", server.url, "--token", `${token.slice(0, -1)}x`], { env: { HOME: home } }).code, 1);
  assert.ok(!existsSync(file), "a wrong token is not kept");
  assert.equal(run(["login", server.url, "--token", token], { env: { HOME: home } }).code, 0);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(JSON.parse(readFileSync(file)).token, token);
  const link = cli(["account", "link", "--data", server.data, "--public-url", server.url]).out.trim();
  const other = folder();
  const signed = run(["login", link], { env: { HOME: other } });
  assert.equal(signed.code, 0, signed.err);
  assert.equal(JSON.parse(readFileSync(join(other, ".moongate/credentials"))).token, token);
  assert.equal(run(["login", link], { env: { HOME: folder() } }).code, 1, "it can be used once");
});
