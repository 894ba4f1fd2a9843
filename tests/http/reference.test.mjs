// The reference of the Lua library: complete (each name that a UDF can reach is annotated), served, printed; and the page
// "From Fused to Moongate", whose names all exist.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cli, folder, request, root, serve, writeUdf } from "../lib/server.mjs";

const work = folder();
let server, reference, names;

// Each function and table that can be reached from `moon`, found at run time: the error for an unknown name lists the names.
const walk = `local moon = require "moon"
return moon.udf(function()
  local _, err = moon.try(function() return moon.zzzzzz end)
  local list, seen = {}, {}
  local function visit(name, value)
    if seen[value] then return end
    list[#list + 1] = name
    if type(value) ~= "table" or name == "moon.null" then return end
    seen[value] = true
    for key, inner in pairs(value) do
      if type(key) == "string" and not key:find("^__") and type(inner) == "function" then list[#list + 1] = name .. "." .. key end
    end
  end
  for name in err.message:match("it has (.*)%)"):gmatch("[%w_]+") do visit("moon." .. name, moon[name]) end
  return list
end)`;

before(async () => {
  writeUdf(work, "Walk", walk);
  server = await serve();
  reference = cli(["docs", "--json"]).json;
  names = new Set();
  for (const { entries, classes } of reference.modules) {
    for (const { name } of entries) names.add(name);
    for (const { name, fields } of classes) {
      names.add(name);
      for (const field of fields) names.add(`${name}:${field.name}`);
    }
  }
});
after(async () => {
  await server?.stop();
  rmSync(work, { recursive: true, force: true });
});

test("each name of the library is in the reference", () => {
  const { json } = cli(["run", join(work, "Walk")], { env: { MOONGATE_DATA: join(work, "data") } });
  assert.ok(json.length >= 60, JSON.stringify(json));
  const missing = json.filter((name) => !names.has(name) && ![...names].some((known) => known.startsWith(`${name}.`)));
  assert.deepEqual(missing, []);
});

test("each function has a signature, types, a text and an example", () => {
  const poor = [];
  for (const { name: module, entries } of reference.modules)
    for (const { name, doc, signature, parameters, examples } of entries) {
      if (!signature.includes("(")) continue;
      if (!doc) poor.push(`${name}: no text`);
      // What a handle can do (a pool's wait, an answer's json) stands in the example of what gives it.
      if (!examples.length && !/:/.test(name.replace(/^moon\.(Table|Raster):/, ""))) poor.push(`${name}: no example`);
      for (const { name: parameter, type } of parameters) if (!type) poor.push(`${name}: ${parameter} has no type`);
      assert.match(name, /^moon\./, module);
    }
  assert.deepEqual(poor, []);
});

test("/reference: one page, revalidated, without scripts", async () => {
  const page = await request(server, { path: "/reference" });
  assert.equal(page.status, 200);
  assert.equal(page.headers["content-type"], "text/html; charset=utf-8");
  const text = page.body.toString();
  for (const { entries } of reference.modules) for (const { name } of entries) assert.ok(text.includes(`id="${name}"`), name);
  assert.ok(!/<script/i.test(text));
  assert.equal((await request(server, { path: "/reference", headers: { "if-none-match": page.headers.etag } })).status, 304);
  assert.equal((await request(server, { path: "/reference", method: "POST" })).status, 405);
});

// arguments, exit code, standard output, standard error, sentence
const rows = [
  [["docs"], 0, /moon\.read_raster\(path, bounds\?, options\?\)/, /^$/, "all names"],
  [["docs", "map"], 0, /^moon\.map\([\s\S]*float32[\s\S]*returns moon\.Raster/, /^$/, "one function by its last name"],
  [["docs", "Raster:slope"], 0, /degrees/, /^$/, "a method made in C"],
  [["docs", "raster:HISTOGRAM"], 0, /edges/, /^$/, "letter case is not needed"],
  [["docs", "stac"], 0, /moon\.stac\.search/, /^$/, "a module"],
  [["docs", "read_rastr"], 1, /^$/, /did you mean read_raster/, "a mistyped name"],
  [["docs", "a", "b"], 2, /^$/, /one name/, "two names"],
];
for (const [args, code, out, err, sentence] of rows)
  test(`moongate docs: ${sentence}`, () => {
    const got = cli(args);
    assert.equal(got.code, code, got.err);
    assert.match(got.out, out);
    assert.match(got.err, err);
  });

test("From Fused to Moongate: each name that it gives exists", () => {
  const page = readFileSync(join(root, "gateway/web/from-fused.html"), "utf8");
  const given = [...page.matchAll(/data-lua="([^"]+)"/g)].map(([, name]) => name);
  assert.ok(given.length >= 40, `${given.length} names`);
  assert.deepEqual(given.filter((name) => !names.has(name)), []);
});

test("a trace that ends is explained by the numbers of the installed LuaJIT", () => {
  const version = readdirSync("/usr/share").find((name) => name.startsWith("luajit-2.1"));
  const vmdef = readFileSync(`/usr/share/${version}/jit/vmdef.lua`, "utf8");
  const theirs = [...vmdef.match(/traceerr = \{\n(?:\[0\]=)?([^]*?)\n\}/)[1].matchAll(/"(.*)",?/g)].map(([, text]) => text);
  const ours = [...readFileSync(join(root, "lua/moon/compiled.lua"), "utf8").matchAll(/^ {2}\[(\d+)\] = ".*", -- (.*)$/gm)];
  assert.ok(ours.length >= 10);
  for (const [, number, text] of ours) assert.equal(text, theirs[number], `number ${number}`);
});
