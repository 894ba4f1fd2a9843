// Runs that start others, and values of functions that all workers share.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { readdirSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serve, folder, writeUdf, request, until, processes } from "../lib/server.mjs";

const lua = (body, parameters = "{}", head = "") =>
  `local moon = require "moon"\n${head}\nlocal function udf${body}\nreturn moon.udf(udf, ${parameters})\n`;

const udfs = folder();
const write = (name, ...rest) => writeUdf(udfs, name, lua(...rest));

write("Echo", "(v) return v end", "{ v = 0 }");
write("Fails", "(v) if v % 2 == 1 then error('odd ' .. v) end return v end", "{ v = 0 }");
write("Deep", "(n, of) if n == 0 then return 'bottom' end return n .. ' ' .. moon.start('Deep', { n = n - 1, of = of }):wait() end", "{ n = 0, of = 0 }");
write("Twice", "(v) local a, b = moon.start('Echo', { v = v }), moon.start('Echo', { v = v + 1000 }) return b:wait() - a:wait() + v end",
  "{ v = 0 }");
write("Sum", `(n, udf, workers)
  local pool = moon.submit(udf, moon.range(n, function(i) return { v = i } end), { max_workers = workers })
  local sum = 0
  for i, v in ipairs(pool:results()) do sum = sum + v end
  local p = pool:progress()
  return { sum = sum, done = p.done, total = p.total }
end`, "{ n = 10, udf = 'Echo', workers = 32 }");
write("Errors", `(n, retry)
  local pool = moon.submit("Fails", moon.range(n, function(i) return { v = i } end), { max_retry = retry })
  local list = pool:errors()
  local first = list[1]
  return { n = #list, index = first.index, name = first.error.name, message = first.error.message, failed = pool:retry():wait():progress().failed }
end`, "{ n = 5, retry = 0 }");
write("Many", `(n)
  local pool = moon.submit("Echo", moon.range(n, function(i) return { v = i } end))
  local list = pool:errors()
  return { n = #list, name = list[1] and list[1].error.name }
end`, "{ n = 1001 }");
write("Given_Up", `(n)
  local pool = moon.submit("Spins", moon.range(n, function(i) return { v = i } end))
  pool:cancel()
  local ok, err = moon.try(function() return pool:results() end)
  return { n = pool:progress().cancelled, name = err.name, echo = moon.run("Echo", { v = 7 }) }
end`, "{ n = 20 }");
write("Spins", "(v) while true do v = v + 1 end end", "{ v = 0 }");
write("Waits", "(v) return moon.start('Spins', { v = v }):wait() end", "{ v = 0 }");
write("Leaves", "(v) moon.start('Spins', { v = v }) return 'left' end", "{ v = 0 }");
write("Big", "(mb) local child = moon.start('Wide', { mb = mb }) return #child:wait() end", "{ mb = 3 }");
write("Wide", "(mb) return string.rep('x', mb * 1048576) end", "{ mb = 3 }");
// Each computation leaves a file of its own: what was computed is what lies there.
const note = (place) => `moon.files.write("/mnt/cache/${place}/" .. id, "x")`;
write("Slow", "(id) return slow(id) end", "{ id = 'a' }",
  `local slow = moon.cache(function(id) ${note("slow")} local n = 0 for i = 1, 2e7 do n = n + i % 7 end return ({ n = n, text = ("x"):rep(1000) }).n end, { key_exclude = { "id" } })`);
write("Fragile", "(id) return (moon.try(fragile, id)) end", "{ id = 'a' }",
  `local fragile = moon.cache(function(id) ${note("fragile")} local n = 0 for i = 1, 3e6 do n = n + i % 7 end error("broken") end, { key_exclude = { "id" } })`);
write("Circle", "(v) return f(v) end", "{ v = 0 }",
  `local f = moon.cache(function(v) if v == 0 then return 1 end return moon.run("Circle_Back", { v = v }) end)`);
write("Circle_Back", "(v) return f(0) + f(v, { deep = true }) end", "{ v = 0 }",
  `local f = moon.cache(function(v, o) if v == 0 or o then return 1 end return moon.run("Circle_Back", { v = v }) end)`);
for (const name of ["One", "Two"])
  write(`Shared_${name}`, "(id) return f(id) end", "{ id = 'a' }",
    `local f = moon.cache(function(id) ${note("shared")} return ("y"):rep(2000000):len() end, { path = "entries", key_exclude = { "id" } })`);
write("Wide_Value", "(id) return #f(id) end", "{ id = 'a' }",
  `local f = moon.cache(function(id) ${note("wide")} return ("z"):rep(3000000) end, { key_exclude = { "id" } })`);
write("Reads", "(id) return f(id) end", "{ id = 'a' }",
  `local f = moon.cache(function(id) ${note("reads")} return moon.files.read("fd://number.txt") end, { key_exclude = { "id" } })`);

writeUdf(udfs, "Library", lua("() return 'library' end"), {
  "utils.lua": `local moon, more = require "moon", require "more"\nprivate = 5\nreturn { add = function(a, b) return a + b + more.zero end, who = function() return private, moon.nodata ~= moon.nodata end }`,
  "more.lua": "return { zero = 0 }",
  "fails.lua": "\nerror('at load')",
});
write("Loads", "(what) local u = moon.load(what).utils local p = u.who() return { u.add(1, 2), p, tostring(private), moon.load(what){} } end",
  "{ what = 'Library' }");
write("Loads_Wrong", "(what, module) local ok, err = moon.try(function() return moon.load(what)[module] end) return err.name .. ' ' .. err.message end",
  "{ what = 'Library', module = 'utils' }");

let server, single;
before(async () => {
  [server, single] = await Promise.all([serve([udfs, "--workers", "3"]), serve([udfs, "--workers", "1"])]);
  await Promise.all([server.ready(), single.ready()]);
});
after(() => Promise.all([server?.stop(), single?.stop()]));

async function ask(to, name, query = {}, { status = 200 } = {}) {
  const answer = await request(to, { path: `/${to.udfs[name]}/run?${new URLSearchParams(query)}`, headers: to.bearer() });
  assert.equal(answer.status, status, `${name}: ${answer.body}`);
  return String(answer.body);
}
const computed = (place, of = server) => {
  const dir = join(of.data, "orgs/local/cache", place);
  return existsSync(dir) ? readdirSync(dir).length : 0;
};

for (const [name, of] of [["three workers", () => server], ["one worker", () => single]]) {
  test(`${name}: depth 5 runs, 6 is refused`, async () => {
    assert.equal(await ask(of(), "Deep", { n: 5 }), "5 4 3 2 1 bottom");
    assert.match(await ask(of(), "Deep", { n: 6, of: 6 }, { status: 508 }), /at most 5 deep/);
  });
  test(`${name}: a pool of 100, and one of parents`, async () => {
    assert.deepEqual(JSON.parse(await ask(of(), "Sum", { n: 100 })), { sum: 5050, done: 100, total: 100 });
    assert.equal(JSON.parse(await ask(of(), "Sum", { n: 60, udf: "Twice" })).sum, 60 * 1000 + 1830);
  });
  test(`${name}: more parents at once than there are workers`, async () => {
    const sums = await Promise.all(Array.from({ length: 24 }, (_, i) => ask(of(), "Sum", { n: 5, udf: "Twice", workers: 1 + i, })));
    for (const sum of sums) assert.equal(JSON.parse(sum).sum, 5015);
  });
  test(`${name}: results larger than a channel`, async () => {
    assert.equal(await ask(of(), "Big", { mb: 3 }), String(3 << 20));
    assert.equal(await ask(of(), "Big", { mb: 1 }), String(1 << 20));
  });
  test(`${name}: what is not wanted any more is cancelled`, async () => {
    assert.deepEqual(JSON.parse(await ask(of(), "Given_Up")), { n: 20, name: "cancelled", echo: 7 });
    assert.equal(await ask(of(), "Leaves", { v: 5 }), "left");
    assert.equal(await ask(of(), "Echo", { v: 12 }), "12"); // no spinning child holds the slots
  });
  test(`${name}: one function needs the other, by way of a run`, async () => {
    assert.equal(await ask(of(), "Circle", { v: 0 }), "1");
    assert.equal(await ask(of(), "Circle", { v: 3 }), "2");
  });
}

test("errors name the run, are tried again, and do not touch the others", async () => {
  const found = JSON.parse(await ask(server, "Errors", { n: 5, retry: 1 }));
  assert.deepEqual({ ...found, message: "" }, { n: 3, index: 1, name: "udf_error", message: "", failed: 3 });
  assert.match(found.message, /^run: Fails: Fails\.lua:3: odd 1/);
});

test("at most 1,000 runs are started by one", async () => {
  assert.deepEqual(JSON.parse(await ask(server, "Many", { n: 1003 })), { n: 3, name: "too_many" });
});

test("a client that goes away takes the child runs along", async () => {
  const busy = async () => Number(String((await request(server, { path: "/metrics" })).body).match(/^moongate_workers_busy (\d+)/m)[1]);
  const leave = new AbortController();
  const gone = fetch(`${server.url}/${server.udfs.Waits}/run?v=99`, { signal: leave.signal }).catch((error) => error.name);
  await until(async () => await busy() >= 1, "the child run has begun");
  leave.abort();
  assert.equal(await gone, "AbortError");
  await until(async () => await busy() === 0, "parent and child have ended");
});

test("a child run's code is a dependency of its parent", async () => {
  write("Part", "() return 'first' end");
  write("Whole", "() return moon.start('Part'):wait() end");
  const own = await serve([udfs, "--workers", "2"]);
  try {
    assert.equal(await ask(own, "Whole"), "first");
    write("Part", "() return 'second' end");
    await until(async () => await ask(own, "Whole") === "second", "the new code");
  } finally {
    await own.stop();
  }
});

test("modules of another UDF, by each form of its name", async () => {
  for (const what of ["Library", "owner@local/Library", "local/Library", "../Library"])
    assert.deepEqual(JSON.parse(await ask(server, "Loads", { what })), [3, 5, "nil", "library"], what);
  for (const [query, said] of [
    [{ what: "None" }, /^not_found .*no UDF named "None"/],
    [{ what: "owner@other/Library" }, /^not_found .*none of this organisation/],
    [{ what: "../../Library" }, /^not_found .*no UDF in the folder/],
    [{ what: "https://github.com/owner/repo/tree/0dcc8a1/common" }, /^argument .*does not read repositories/],
    [{ what: "a b" }, /^argument .*expected a UDF's name/],
    [{ module: "none" }, /^argument .*has no module `none`/],
    [{ module: "fails" }, /at load/],
  ]) assert.match(await ask(server, "Loads_Wrong", query), said, JSON.stringify(query));
});

test("modules of another UDF are a dependency", async () => {
  writeUdf(udfs, "Lent", lua("() return 1 end"), { "utils.lua": "return { v = 'first' }" });
  write("Borrows", "() return moon.load('Lent').utils.v end");
  const own = await serve([udfs, "--workers", "1"]);
  try {
    assert.equal(await ask(own, "Borrows"), "first");
    writeUdf(udfs, "Lent", lua("() return 1 end"), { "utils.lua": "return { v = 'second' }" });
    await until(async () => await ask(own, "Borrows") === "second", "the new code");
  } finally {
    await own.stop();
  }
});

test("twenty tiles, one computation", async () => {
  const values = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(server, "Slow", { id: `id${i}` })));
  assert.equal(new Set(values).size, 1);
  assert.equal(computed("slow"), 1);
  await ask(server, "Slow", { id: "later" });
  assert.equal(computed("slow"), 1);
});

test("values survive a restart; an edit elsewhere computes nothing, one within does", async () => {
  await server.stop({ keep: true });
  const text = (extra, factor) => lua("(id) " + extra + " return slow(id) end", "{ id = 'a' }",
    `local slow = moon.cache(function(id) ${note("edits")} return ${factor} end, { key_exclude = { "id" } })`);
  writeUdf(udfs, "Edited", text("", 1));
  server = await serve([udfs, "--workers", "3"], { data: server.data });
  await server.ready();
  await ask(server, "Slow", { id: "restarted" });
  assert.equal(computed("slow"), 1);
  assert.equal(await ask(server, "Edited", { id: "1" }), "1");
  writeUdf(udfs, "Edited", text("local more = 1 -- an edit\n", 1));
  assert.equal(await ask(server, "Edited", { id: "2" }), "1");
  assert.equal(computed("edits"), 1);
  writeUdf(udfs, "Edited", text("", 2));
  await until(async () => await ask(server, "Edited", { id: `3${Math.random()}` }) === "2", "the new code");
  assert.equal(computed("edits"), 2);
});

test("errors are not kept: each that waits computes for itself", async () => {
  const values = await Promise.all(Array.from({ length: 6 }, (_, i) => ask(server, "Fragile", { id: `id${i}` })));
  assert.equal(values.length, 6);
  assert.equal(computed("fragile"), 6);
});

test("with a path the entries are files that UDFs share", async () => {
  assert.equal(await ask(server, "Shared_One", { id: "1" }), "2000000");
  assert.equal(await ask(server, "Shared_Two", { id: "2" }), "2000000");
  assert.equal(computed("shared"), 1);
  const [entry] = readdirSync(join(server.data, "orgs/local/cache/entries"));
  writeFileSync(join(server.data, "orgs/local/cache/entries", entry), "damaged");
  assert.equal(await ask(server, "Shared_Two", { id: "3" }), "2000000");
  assert.equal(computed("shared"), 2);
});

test("a value larger than a channel", async () => {
  for (let i = 0; i < 6; i++) assert.equal(await ask(server, "Wide_Value", { id: `w${i}` }), "3000000");
  assert.equal(computed("wide"), 1);
});

test("a value is made again when what it read has changed", async () => {
  const file = join(server.data, "orgs/local/fd/number.txt");
  writeFileSync(file, "one");
  assert.equal(await ask(server, "Reads", { id: "1" }), "one");
  assert.equal(await ask(server, "Reads", { id: "2" }), "one");
  assert.equal(computed("reads"), 1);
  writeFileSync(file, "two, longer");
  await until(async () => await ask(server, "Reads", { id: "1" }) === "two, longer", "the answer of a run that never read the file itself");
  await until(async () => await ask(server, "Reads", { id: `2${Math.random()}` }) === "two, longer", "the new file");
});

test("a worker that is killed while it computes leaves the claim to another", async () => {
  server.mayCrash = true;
  write("Doomed", "(id) return f(id) end", "{ id = 'a' }",
    `local f = moon.cache(function(id) ${note("doomed")} if id == "loops" then while true do id = "loops" end end return "well" end, { key_exclude = { "id" } })`);
  const own = await serve([udfs, "--workers", "2"]);
  try {
    const leave = new AbortController();
    const gone = fetch(`${own.url}/${own.udfs.Doomed}/run?id=loops`, { signal: leave.signal }).catch((error) => error.name);
    await until(() => computed("doomed", own) === 1, "it computes");
    const waits = ask(own, "Doomed", { id: "waits" });
    leave.abort();
    assert.equal(await gone, "AbortError");
    assert.equal(await waits, "well");
    assert.ok(processes(own).workers.length >= 1);
  } finally {
    await own.stop();
  }
});
