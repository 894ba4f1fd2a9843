// Parameters: what each type makes of what comes, and what belongs to the key of an answer.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { folder, request, serve, until, writeUdf } from "../lib/server.mjs";

const spec = {
  bare: "nil",
  string: 'moon.type.string("x")',
  text: '"x"',
  number: "1.5",
  ranged: "moon.type.number(1, { min = 0, max = 10 })",
  integer: "moon.type.integer(500)",
  needed: "moon.type.integer",
  optional: "moon.type.integer(nil, { optional = true })",
  boolean: "true",
  flag: "moon.type.boolean",
  enum: 'moon.type.enum{ "red", "green" }',
  list: "{ 1, 2 }",
  words: '{ "a", "b" }',
  table: "moon.type.table",
  geometry: "moon.type.geometry",
  date: "moon.type.date",
  bounds: "moon.type.bounds",
  anywhere: "moon.type.bounds({ -10, -5, 10, 5 })",
  any: "moon.type.any(nil, { optional = true })",
};
const shows = {
  geometry: "v.type .. ' ' .. v.crs",
  bounds: "{ v.xmin, v.ymin, v.xmax, v.ymax }",
  anywhere: "{ v.xmin, v.ymin, v.xmax, v.ymax }",
};
const say = (object) => encodeURIComponent(JSON.stringify(object));
const polygon = { type: "Polygon", coordinates: [[[1, 2], [3, 2], [3, 5], [1, 2]]] };

// spec, query, what Lua gets ({ type, value }) or the type of the mistake, sentence
const rows = [
  ["bare", "v=abc", ["string", "abc"], "a name without an entry is a string"],
  ["bare", "", "missing", "and it is required"],
  ["bare", "v=", ["string", ""], "an empty string is a string"],
  ["string", "v=a%26b%3D%2B+c", ["string", "a&b=+ c"], "escapes and plus are undone once"],
  ["string", "v=%C3%96l+%E6%B1%89%F0%9F%8C%99", ["string", "Öl 汉🌙"], "Unicode comes through"],
  ["string", "v=%ff", "string_unicode", "what is no UTF-8 is refused"],
  ["string", "v=1", ["string", "1"], "digits stay a string where a string is meant"],
  ["string", "v=a&v=b", "repeated", "a value given twice is refused"],
  ["string", "", ["string", "x"], "the default of a string"],
  ["text", "v=null", ["string", "null"], "null in a query is text"],
  ["number", "v=2.5e3", ["number", 2500], "an exponent"],
  ["number", "v=-.5", ["number", -0.5], "a number without its zero"],
  ["number", "", ["number", 1.5], "the default of a number"],
  ["number", "v=abc", "float_parsing", "text is no number"],
  ["number", "v=", "float_parsing", "nothing is no number"],
  ["number", "v=nan", "float_parsing", "NaN is refused"],
  ["number", "v=inf", "float_parsing", "infinity is refused"],
  ["number", "v=1e999", "float_parsing", "a number that is too large is refused"],
  ["number", "v=0x10", "float_parsing", "hexadecimal is refused"],
  ["number", "v=1,5", "float_parsing", "a decimal comma is refused"],
  ["ranged", "v=10", ["number", 10], "the maximum itself fits"],
  ["ranged", "v=10.01", "less_than_equal", "over the maximum"],
  ["ranged", "v=-0.01", "greater_than_equal", "under the minimum"],
  ["integer", "v=-7", ["number", -7], "a negative integer"],
  ["integer", "", ["number", 500], "the default of an integer"],
  ["integer", "v=7.5", "int_parsing", "a fraction is no integer"],
  ["integer", "v=99999999999999999999", "int_parsing_size", "an integer that is too large"],
  ["needed", "", "missing", "a type without a default is required"],
  ["optional", "", ["nil", undefined], "an optional one is nil"],
  ["optional", "v=3", ["number", 3], "an optional one that is there"],
  ["optional", "v=x", "int_parsing", "an optional one that is wrong is wrong"],
  ["boolean", "v=false", ["boolean", false], "false"],
  ["boolean", "v=0", ["boolean", false], "0 is false"],
  ["boolean", "v=no", ["boolean", false], "no is false"],
  ["boolean", "v=TRUE", ["boolean", true], "TRUE is true"],
  ["boolean", "v=1", ["boolean", true], "1 is true"],
  ["boolean", "v=2", "bool_parsing", "2 is neither"],
  ["boolean", "", ["boolean", true], "the default of a boolean"],
  ["flag", "", "missing", "a boolean without a default is required"],
  ["enum", "v=red", ["string", "red"], "one of the enum"],
  ["enum", "v=gren", "enum", "another is refused"],
  ["list", "v=[3,4.5]", ["table", [3, 4.5]], "a list as JSON"],
  ["list", "v=3,4", ["table", [3, 4]], "a list with commas"],
  ["list", "v=3&v=4", ["table", [3, 4]], "a list by repeating the name"],
  ["list", "v=[]", ["table", []], "an empty list"],
  ["list", "", ["table", [1, 2]], "the default of a list"],
  ["list", "v=[1,", "list_type", "broken JSON is no list"],
  ["list", "v=a,b", "list_item", "words are no numbers"],
  ["words", 'v=["c","d"]', ["table", ["c", "d"]], "a list of words"],
  ["table", `v=${say({ a: 1, b: [true, null] })}`, ["table", { a: 1, b: [true, null] }], "an object as JSON"],
  ["table", "v=[1]", ["table", [1]], "a list is a table too"],
  ["table", "v=1", "dict_type", "a number is no table"],
  ["table", `v=${say(JSON.parse("[".repeat(200) + "]".repeat(200)))}`, "dict_type", "nesting has its limit"],
  ["geometry", "v=POINT(1 2)", ["userdata", "Point EPSG:4326"], "a geometry as WKT"],
  ["geometry", `v=${say(polygon)}`, ["userdata", "Polygon EPSG:4326"], "a geometry as GeoJSON"],
  ["geometry", "v=POINT(1", "geometry_parsing", "broken WKT"],
  ["date", "v=2024-02-29", ["string", "2024-02-29"], "a date"],
  ["date", "v=2024-02-29T12:30:00%2B02:00", ["string", "2024-02-29T10:30:00Z"], "a time is turned to UTC"],
  ["date", "v=2023-02-29", "date_parsing", "a day that was not"],
  ["bounds", "v=1,2,3,4", ["table", [1, 2, 3, 4]], "bounds as four numbers"],
  ["bounds", "v=[1,2,3,4]", ["table", [1, 2, 3, 4]], "bounds as a JSON list"],
  ["bounds", `v=${say(polygon)}`, ["table", [1, 2, 3, 5]], "bounds as GeoJSON"],
  ["bounds", `v=${say({ type: "FeatureCollection", features: [{ type: "Feature", properties: {}, geometry: polygon }] })}`, ["table", [1, 2, 3, 5]], "bounds as a FeatureCollection"],
  ["bounds", "v=3,2,1", "bounds_parsing", "three numbers are no bounds"],
  ["bounds", "v=1,4,3,2", "bounds_range", "south above north"],
  ["bounds", "v=1,2,3,94", "bounds_range", "a latitude of 94"],
  ["bounds", "v=1,2,3,nan", "bounds_parsing", "NaN in bounds"],
  ["bounds", "", "missing", "bounds without a view state are required"],
  ["bounds", "z=1&x=0&y=0", ["table", [-180, 0, 0, 85.0511]], "z, x and y give the tile's bounds"],
  ["anywhere", "", ["table", [-10, -5, 10, 5]], "the default of bounds"],
  ["any", `v=${say({ a: 1 })}`, ["string", '{"a":1}'], "any keeps the text of a query"],
  ["number", "w=1", "extra_forbidden", "an unknown name is refused"],
  ["number", "_=1&utm_source=x&access_token=y", ["number", 1.5], "names of trackers are passed over"],
  ["number", "v=1&value=2", "extra_forbidden", "one too many is refused"],
];

const dir = folder(), mount = folder();
for (const [name, type] of Object.entries(spec))
  writeUdf(dir, `Of_${name}`, `local moon = require "moon"
return moon.udf(function(v) return { type = type(v), value = ${shows[name] ? `v and ${shows[name]}` : "v"} } end, { v = ${type} })`);
writeUdf(dir, "Rest", `local moon = require "moon"
return moon.udf(function(a, ...) local rest = ... return { a = a, rest = rest } end, { a = 1 })`);
writeUdf(dir, "Keyed", `local moon = require "moon"
local utils = require "utils"
return moon.udf(function(a, b, list) return utils.word .. " " .. a .. " " .. b .. " " .. #list end, { a = "1", b = 2, list = { 1 } })`,
  { "utils.lua": 'return { word = "one" }', "meta.json": meta("Keyed", "first") });
writeUdf(dir, "Reads", `local moon = require "moon"
return moon.udf(function() return { n = moon.read_vector("fd://data/points.geojson"):count() } end, {})`);

function meta(name, description) {
  return JSON.stringify({ version: "0.0.3", job_config: { version: "0.0.3", name, metadata: {}, steps: [{ type: "udf",
    udf: { type: "lua", name, entrypoint: "udf", parameters: {}, metadata: { "fused:description": description },
      source: `${name}.lua`, headers: [] } }] } });
}

function points(n) {
  const features = Array.from({ length: n }, (_, i) => ({ type: "Feature", properties: { i }, geometry: { type: "Point", coordinates: [i, i] } }));
  writeFileSync(join(mount, "points.geojson"), JSON.stringify({ type: "FeatureCollection", features }));
}
mkdirSync(mount, { recursive: true });
points(3);

let server;
before(async () => {
  server = await serve([dir, "--no-examples", "--mount", `data=${mount}`]);
  await server.ready();
});
after(() => server.stop());

const ask = (udf, query, more = {}) => request(server, { path: `/${server.udfs[udf]}/run?${query}`, ...more });

for (const [name, query, expected, sentence] of rows)
  test(`${name}: ${sentence}`, async () => {
    const answer = await ask(`Of_${name}`, query);
    if (typeof expected === "string") {
      assert.equal(answer.status, 422, answer.text);
      const [first] = answer.json.detail;
      assert.equal(first.type, expected, answer.text);
      assert.equal(first.loc[0], "query");
      assert.ok(first.msg.length > 5);
    } else {
      assert.equal(answer.status, 200, answer.text);
      const { type, value } = answer.json;
      const near = (v) => typeof v === "number" ? Math.round(v * 1e4) / 1e4 : Array.isArray(v) ? v.map(near) : v;
      assert.deepEqual([type, near(value)], expected);
    }
  });

test("a body's JSON values keep their types", async (t) => {
  const post = (udf, body) => ask(udf, "", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  for (const [name, v, expected, sentence] of [
    ["integer", 3, ["number", 3], "a number"],
    ["integer", "3", ["number", 3], "a number as text"],
    ["integer", 3.5, "int_from_float", "a fraction where an integer is meant"],
    ["integer", true, "int_type", "true is no integer"],
    ["string", 5, "string_type", "a number is no text"],
    ["list", [5, 6], ["table", [5, 6]], "a list"],
    ["table", { k: { l: 1 } }, ["table", { k: { l: 1 } }], "an object"],
    ["any", { a: 1 }, ["table", { a: 1 }], "any keeps what it is"],
    ["optional", null, ["nil", undefined], "null is absent"],
    ["bounds", [1, 2, 3, 4], ["table", [1, 2, 3, 4]], "bounds"],
  ])
    await t.test(sentence, async () => {
      const answer = await post(`Of_${name}`, { v });
      if (typeof expected === "string") assert.equal(answer.json.detail[0].type, expected, answer.text);
      else assert.deepEqual([answer.json.type, answer.json.value], expected, answer.text);
    });
});

test("every mistake of a request is named at once", async () => {
  const answer = await ask("Keyed", "b=x&list=[&zzz=1");
  assert.deepEqual(answer.json.detail.map((d) => d.loc[1]).sort(), ["b", "list", "zzz"]);
});

test("... gets the other parameters", async () => {
  const answer = await ask("Rest", "a=2&b=3&c=x");
  assert.deepEqual([answer.json.a, Object.keys(answer.json.rest).sort()], [2, ["b", "c"]]);
});

test("more than 256 parameters are refused", async () => {
  const answer = await ask("Rest", Array.from({ length: 300 }, (_, i) => `p${i}=1`).join("&"));
  assert.equal(answer.status, 400, answer.text);
});

// The key: runs counts the computations that a list of requests makes. Each row starts with an empty cache of its own.
const keys = [
  [["a=1&b=2", "b=2&a=1"], 1, "the order of parameters does not matter"],
  [["", "a=1&b=2&list=[1]"], 1, "a default spelt out is the default"],
  [["b=2", "b=2.0", "b=%2B2", "b=2e0"], 1, "a number has one key however it is written"],
  [["list=[3]", "list=3", "list=%5B%203%20%5D"], 1, "so has a list"],
  [["a=1", "a=1&_=5&utm_x=1&access_token=t"], 1, "trackers are not part of it"],
  [["a=1&cache_max_age=100", "a=1&cache_max_age=1d", "a=1"], 1, "nor is the time to live"],
  [["a=1&b=2", "a=1%26b=2"], 2, "an escaped ampersand is a value"],
  [["a=1", "a=01", "a=%201"], 3, "text is not trimmed"],
  [["list=[1,2]", "list=[12]", "list=[2,1]"], 3, "lists differ by their items and order"],
  [["a=1", "a=1&_cache_id=x", "a=1&_cache_id=y"], 3, "_cache_id sets answers apart"],
  [["a=1&format=html", "a=1&format=html,json", "a=1"], 3, "what was asked for counts, not what came"],
  [["a=1&cache_max_age=0", "a=1&cache_max_age=0"], 2, "cache_max_age=0 computes each time"],
  [["a=\u00e9", "a=e\u0301"], 2, "Unicode is not normalised"],
];
let group = 0;
for (const [queries, runs, sentence] of keys)
  test(`key: ${sentence}`, async () => {
    const id = queries.some((q) => q.includes("_cache_id")) ? "" : `&_cache_id=key${group++}`;
    await ask("Keyed", "a=warm"); // the signature is known from here on
    const start = await server.metric("moongate_runs_total");
    for (const query of queries) assert.equal((await ask("Keyed", encodeURI(query).replaceAll("%25", "%") + id)).status, 200);
    assert.equal(await server.metric("moongate_runs_total") - start, runs);
  });

test("key: X-Fused-Cache-Disable computes each time", async () => {
  const start = await server.metric("moongate_runs_total");
  for (let i = 0; i < 2; i++) await ask("Keyed", "a=disable", { headers: { "x-fused-cache-disable": "true" } });
  assert.equal(await server.metric("moongate_runs_total") - start, 2);
});

test("key: an edit of code, helper, meta.json or data makes a new answer, and only then", async () => {
  const state = async (udf, what) => until(async () => {
    const answer = await ask(udf, "");
    return what(answer) && answer;
  }, `${udf} has not changed`);
  assert.equal((await ask("Keyed", "")).text, "one 1 2 1");
  writeFileSync(join(dir, "Keyed", "utils.lua"), 'return { word = "two" }');
  await state("Keyed", (a) => a.text === "two 1 2 1");
  await state("Keyed", (a) => a.headers["x-cache"] === "hit");
  writeFileSync(join(dir, "Keyed", "meta.json"), meta("Keyed", "second"));
  await state("Keyed", (a) => a.headers["x-cache"] === "miss");
  writeFileSync(join(dir, "Keyed", "Keyed.lua"), `local moon = require "moon"
return moon.udf(function(c) return "three " .. c end, { c = 5 })`);
  await state("Keyed", (a) => a.text === "three 5");
  assert.equal((await ask("Reads", "")).json.n, 3);
  points(7);
  utimesSync(join(mount, "points.geojson"), new Date(), new Date(Date.now() + 2000));
  await state("Reads", (a) => a.json.n === 7);
  assert.equal((await ask("Reads", "")).json.n, 7);
});
