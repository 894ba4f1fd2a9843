// Secrets: set by the command, read by a UDF, followed by its cached answers.
import test from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { folder, program, request, serve, until, writeUdf } from "../lib/server.mjs";

test("secrets", async (t) => {
  const dir = folder();
  writeUdf(dir, "Secret", `local moon = require "moon"
    return moon.udf(function(name) return moon.secrets[name] or "none" end, { name = "API_KEY" })`);
  writeUdf(dir, "Change", `local moon = require "moon"
    return moon.udf(function() local _, err = moon.try(function() moon.secrets.X = "y" end) return err.name end)`);
  const server = await serve([dir, "--no-examples"]);
  t.after(() => server.stop());
  const secret = (args, input = "") => {
    const { status, stdout, stderr } = spawnSync(program, ["secret", ...args, "--data", server.data], { input, encoding: "utf8",
      env: { ...process.env, HOME: server.home } });
    return { status, stdout, stderr };
  };
  const ask = async (query = "") => request(server, { path: `/${server.udfs.Secret}/run${query}` });

  assert.equal((await ask()).text, "none");
  assert.equal(secret(["set", "API_KEY"], "first value\n").status, 0);
  await until(async () => (await ask()).text === "first value", "the secret is seen");
  await until(async () => (await ask()).headers["x-cache"] === "hit", "the answer is cached");
  assert.equal(secret(["set", "API_KEY"], "second\nline\r\n").status, 0);
  await until(async () => (await ask()).text === "second\nline", "the change expires the answer");
  assert.equal((await ask("?name=OTHER")).text, "none");
  assert.equal((await ask("?name=..%2F..")).text, "none");
  assert.equal((await request(server, { path: `/${server.udfs.Change}/run` })).text, "argument");

  const listed = secret(["list"]);
  assert.match(listed.stdout, /^API_KEY +set \d{4}-/);
  assert.doesNotMatch(listed.stdout, /second/);
  assert.deepEqual(JSON.parse(secret(["list", "--json"]).stdout).map((row) => row.name), ["API_KEY"]);
  assert.equal(readFileSync(join(server.data, "state/data.mdb")).includes("second\nline"), false, "it is sealed");
  assert.equal(secret(["set", "API_KEY", "value"]).status, 2, "no value as an argument");
  assert.equal(secret(["set", "1"], "x").status, 1);
  assert.equal(secret(["set", "EMPTY"], "\n").status, 1);
  assert.equal(secret([]).status, 2);

  assert.equal(secret(["delete", "API_KEY"]).status, 0);
  assert.equal(secret(["delete", "API_KEY"]).status, 1);
  await until(async () => (await ask()).text === "none", "the deletion expires the answer");
});
