// Files of a UDF over HTTP: what a cached answer depends on, and other runs that see what was written.
import test from "node:test";
import assert from "node:assert/strict";
import { writeFileSync, readFileSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { serve, request, writeUdf, folder, until } from "../lib/server.mjs";

const udfs = {
  Write: `local moon = require "moon"
    return moon.udf(function(name, text) moon.files.write(name, text) return "written " .. text end, { name = "fd://x", text = "" })`,
  Read: `local moon = require "moon"
    return moon.udf(function(name) return moon.files.stat(name) and moon.files.read(name) or "none" end, { name = "fd://x" })`,
  List: `local moon = require "moon"
    return moon.udf(function(name)
      local names = {}
      for i, f in ipairs(moon.files.list(name)) do names[i] = f.name .. ":" .. f.size end
      return table.concat(names, ",")
    end, { name = "/mnt/cache" })`,
  Count: `local moon = require "moon"
    return moon.udf(function()
      local n = moon.files.stat("/mnt/cache/count") and tonumber(moon.files.read("/mnt/cache/count")) or 0
      moon.files.write("/mnt/cache/count", tostring(n + 1))
      return tostring(n + 1)
    end)`,
  Fill: `local moon = require "moon"
    return moon.udf(function()
      for i = 1, 20 do
        local _, err = moon.try(moon.files.write, "/mnt/cache/fill/" .. i, ("x"):rep(1000000))
        if err then return err.name .. " " .. i end
      end
      return "no limit"
    end)`,
};

test("files of the organisation", async (t) => {
  const dir = folder();
  for (const [name, lua] of Object.entries(udfs)) writeUdf(dir, name, lua);
  const server = await serve([dir, "--no-examples", "--quota", "4"]);
  t.after(() => server.stop());
  const run = async (udf, query = {}) => {
    const answer = await request(server, { path: `/${server.udfs[udf]}/run?${new URLSearchParams(query)}` });
    return { status: answer.status, text: answer.text, hit: answer.headers["x-cache"] === "hit", json: () => answer.json };
  };

  await t.test("another run sees what was written, and a cached answer follows it", async () => {
    assert.equal((await run("Read")).text, "none");
    assert.equal((await run("Write", { text: "one" })).text, "written one");
    assert.equal(readFileSync(join(server.data, "orgs/local/fd/x"), "utf8"), "one");
    await until(async () => (await run("Read")).text === "one", "the new file is seen");
    assert.equal((await run("Read")).hit, true);
    writeFileSync(join(server.data, "orgs/local/fd/x"), "two!");
    await until(async () => (await run("Read")).text === "two!", "the changed file is seen");
  });

  await t.test("a run that wrote is cached, and then does not write", async () => {
    await run("Write", { name: "fd://once", text: "a" });
    writeFileSync(join(server.data, "orgs/local/fd/once"), "from outside");
    assert.equal((await run("Write", { name: "fd://once", text: "a" })).hit, true);
    assert.equal(readFileSync(join(server.data, "orgs/local/fd/once"), "utf8"), "from outside");
  });

  await t.test("a run that reads what it then changes is never cached", async () => {
    const seen = [];
    for (let i = 0; i < 3; i++) {
      seen.push((await run("Count")).text);
      await new Promise((resolve) => setTimeout(resolve, 1100)); // the version table looks once a second
    }
    assert.deepEqual(seen, ["1", "2", "3"]);
  });

  await t.test("a list follows files that come and go", async () => {
    const before = (await run("List")).text;
    await run("Write", { name: "/mnt/cache/new.txt", text: "12345" });
    const after = await until(async () => {
      const { text } = await run("List");
      return text !== before && text;
    }, "the list changes");
    assert.ok(after.split(",").includes("new.txt:5"), after);
  });

  await t.test("the quota is an error with a name, and leaves nothing", async () => {
    const fill = await run("Fill");
    assert.match(fill.text, /^quota [345]$/);
    const left = readdirSync(join(server.data, "orgs/local/cache/fill"));
    assert.ok(left.every((name) => /^\d+$/.test(name)), left.join());
  });

  await t.test("nothing leaves the organisation's folders", async () => {
    for (const name of ["/etc/passwd", "fd://../../state/data.mdb", "/mnt/cache/../../../server.key", "fd://../cache/count"]) {
      const answer = await run("Read", { name });
      assert.equal(answer.status >= 400, true, name);
      assert.doesNotMatch(answer.text, /root:/);
      assert.equal((await run("Write", { name, text: "pwned" })).status >= 400, true, name);
    }
    assert.equal(existsSync(join(server.data, "orgs/local/count")), false);
  });
});
