// Many runs of one UDF at once, with one worker: each request has its own answer, whatever is in front of or behind it.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { Agent } from "node:http";
import { serve, folder, writeUdf, request, until } from "../lib/server.mjs";

const udfs = folder();
writeUdf(udfs, "Line", `local moon = require "moon"
local seen = moon.cache(function(v) return "kept " .. v end)
-- Not to be compressed by more than half.
local function noise(id, size)
  local x, parts = id + 1, {}
  for i = 1, size / 8 do
    x = x * 16807 % 2147483647
    parts[i] = string.format("%08x", x)
  end
  return id .. ":" .. table.concat(parts)
end
local function udf(id, bytes, kind, text)
  leak = (leak or 0) + 1
  if kind == "fails" then error("failed " .. id) end
  if kind == "child" then return "child " .. moon.run("Line", { id = id, bytes = bytes, kind = "plain" }) end
  if kind == "kept" then return seen(id % 3) .. " of " .. id end
  if kind == "file" then moon.files.write("/mnt/cache/lines/" .. id, "file " .. id) return moon.files.read("/mnt/cache/lines/" .. id) end
  if kind == "slow" then local n = 0 for i = 1, 2e6 do n = n + i % 7 end end
  if leak ~= 1 then return "state of an earlier run" end
  return noise(id, bytes) .. text
end
return moon.udf(udf, { id = 0, bytes = 10, kind = "plain", text = "" })
`);

const plain = (id, size) => {
  let x = id + 1, text = `${id}:`;
  for (let i = 1; i <= size / 8; i++) text += (x = x * 16807 % 2147483647).toString(16).padStart(8, "0");
  return text;
};
const kinds = {
  plain: (id, size) => plain(id, size),
  slow: (id, size) => plain(id, size),
  child: (id, size) => `child ${plain(id, size)}`,
  kept: (id) => `kept ${id % 3} of ${id}`,
  file: (id) => `file ${id}`,
};
// As they are or compressed: in a slot, about its end, in the channel, over the channel.
const sizes = [0, 8, 5000, 126000, 200000, 240000, 600000, 2400000];
let server, agent;
before(async () => {
  server = await serve([udfs, "--workers", "1", "--threads", "2"]);
  agent = new Agent({ keepAlive: true, maxSockets: 48 });
});
after(() => { agent?.destroy(); return server?.stop(); });

const get = (id, size, kind, more = "", to = server) => request(to, { agent,
  path: `/${to.udfs.Line}/run/file?id=${id}&bytes=${size}&kind=${kind}&cache_max_age=0${more}` });
const metric = async (name, of = server) => Number((await request(of, { path: "/metrics" })).text.match(new RegExp(`^moongate_${name} (\\S+)`, "m"))[1]);

test("small answers, 48 at once", async () => {
  assert.equal((await get(1, 8, "plain")).text, plain(1, 8)); /* its signature is known from here on */
  const runs = await metric("runs_total");
  for (let round = 0; round < 5; round++) {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, id) => get(id, 10 + round, "plain")));
    answers.forEach((answer, id) => assert.equal(answer.text, plain(id, 10 + round)));
  }
  assert.equal(await metric("runs_total") - runs, 1000);
  assert.equal(await metric("queue"), 0);
});

test("answers of all sizes among them", async () => {
  const asked = Array.from({ length: 160 }, (_, id) => [id, sizes[id * 5 % sizes.length]]);
  const answers = await Promise.all(asked.map(([id, size]) => get(id, size, "plain")));
  asked.forEach(([id, size], i) => assert.ok(answers[i].status === 200 && answers[i].text === plain(id, size), `${size} bytes for ${id}`));
});

test("runs that fail, call others, keep values, write files, take long", async () => {
  const names = [...Object.keys(kinds), "fails"];
  const asked = Array.from({ length: 240 }, (_, id) => [id, id % 4 ? 20 : 240000, names[id % names.length]]);
  const answers = await Promise.all(asked.map((ask) => get(...ask)));
  asked.forEach(([id, size, kind], i) => {
    if (kind === "fails") assert.equal(answers[i].status, 500, `${kind} ${id}`);
    else assert.ok(answers[i].status === 200 && answers[i].text === kinds[kind](id, size), `${kind} ${id}: ${answers[i].text.slice(0, 80)}`);
  });
});

test("parameters too long for a slot go another way", async () => {
  const long = "v".repeat(6000);
  const answers = await Promise.all(Array.from({ length: 60 }, (_, id) => get(id, 10, "plain", id % 2 ? `&text=${long}` : "")));
  answers.forEach((answer, id) => assert.equal(answer.text, plain(id, 10) + (id % 2 ? long : "")));
});

test("the next worker goes on where the last one stopped", async (t) => {
  const alone = await serve([udfs, "--workers", "1"]); // one that has called no child, and so has one worker only
  t.after(() => alone.stop());
  let left = 10500;
  await Promise.all(Array.from({ length: 32 }, async () => {
    while (left > 0) {
      const id = left--;
      assert.equal((await get(id, 8, "plain", "", alone)).text, plain(id, 8));
    }
  }));
  await until(async () => await metric("workers_started_total", alone) > 1, "a worker that has had its runs is followed by another");
});
