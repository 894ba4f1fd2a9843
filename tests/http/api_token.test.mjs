// Shared tokens over REST: made, listed, changed, revoked; a change holds on the next request, for cached answers too.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { request, serve, until } from "../lib/server.mjs";

const lua = 'local moon = require "moon"\nreturn moon.udf(function(name) return "Hi " .. name end, { name = "you" })\n';
let server, udf;
const api = (method, path, body, headers = {}) => request(server, { path: `/server/v1/${path}`, method,
  body: body === undefined ? undefined : JSON.stringify(body), headers: { ...server.bearer(), "content-type": "application/json", ...headers } });
const run = (token, query = "") => request(server, { path: `/${token}/run/file${query}` });
async function make(body = {}) {
  const answer = await api("POST", "udf-access-token/new", { udf_id: udf.id, ...body });
  assert.equal(answer.status, 201, answer.text);
  return answer.json;
}

before(async () => {
  server = await serve();
  await server.ready();
  udf = (await api("POST", "udf/new", { slug: "Tokens", udf_body: lua })).json;
});
after(() => server.stop());

test("made by id and by slug; it runs, and its URLs are those that run", async () => {
  const one = await make(), two = await make({ udf_id: undefined, udf_slug: "Tokens", udf_email: "owner@local" });
  for (const token of [one, two]) {
    assert.match(token.token, /^msh_[0-9A-Za-z]{49}$/);
    assert.deepEqual([token.udf_id, token.udf_slug, token.udf_email, token.enabled, token.expires], [udf.id, "Tokens", "owner@local", true, null]);
    assert.equal((await request(server, { path: new URL(token.file_url).pathname })).text, "Hi you");
    assert.ok(token.tile_url.endsWith(`/${token.token}/run/tiles/{z}/{x}/{y}`));
  }
  assert.deepEqual((await api("GET", `udf-access-token/by-token/${one.token}`)).json, one);
  const example = (await api("POST", "udf-access-token/new", { udf_slug: "Hello" })).json;
  assert.deepEqual([example.udf_slug, example.udf_id], ["Hello", null], "an example has a name and no id");
  assert.equal((await run(example.token)).status, 200);
});

test("disabled, enabled, expired, revoked: from the next request on, cached answers too", async () => {
  const { token } = await make(), path = `udf-access-token/by-token/${token}`;
  const refused = (await run("msh_nonsense")).json;
  assert.equal((await run(token)).status, 200);
  await until(async () => (await run(token)).headers["x-cache"] === "hit", "a hit");
  assert.equal((await api("POST", path, { enabled: false })).json.enabled, false);
  const off = await run(token);
  assert.deepEqual([off.status, off.json.detail], [401, refused.detail], "the same 401 as for nonsense");
  assert.equal((await api("POST", path, { enabled: true })).json.enabled, true);
  assert.equal((await run(token)).status, 200);
  const dated = (await api("POST", path, { expires: "1d" })).json;
  assert.ok(Math.abs(Date.parse(dated.expires) - Date.now() - 86400e3) < 60e3);
  assert.equal((await api("POST", path, { expires: "0" })).json.expires, null);
  assert.equal((await api("POST", path, { cache_max_age: "12h" })).json.cache_max_age, 43200);
  assert.match((await run(token)).headers["cache-control"], /max-age=/);
  await api("POST", path, { expires: "1s" });
  await until(async () => (await run(token)).status === 401, "it expires");
  assert.equal((await api("POST", path, { expires: "0" })).status, 200);
  assert.equal((await api("DELETE", path)).status, 204);
  assert.equal((await run(token)).status, 401);
  assert.equal((await api("GET", path)).status, 404);
  assert.equal((await api("POST", path, { enabled: true })).status, 404, "revoked is for good");
  assert.equal((await make({ enabled: false })).enabled, false);
});

test("lists: pages of 25, in the order of creation, without private and revoked tokens", async () => {
  const before = (await api("GET", "udf-access-token/self?limit=1000")).json.length;
  const made = [];
  for (let i = 0; i < 30; i++) made.push((await make()).token);
  const all = (await api("GET", "udf-access-token/self?limit=1000")).json.map((row) => row.token);
  assert.deepEqual(all.slice(before), made);
  assert.ok(!all.includes(server.credentials().token));
  assert.equal((await api("GET", "udf-access-token/self")).json.length, 25);
  assert.deepEqual((await api("GET", `udf-access-token/self?skip=${before + 3}&limit=2`)).json.map((row) => row.token), made.slice(3, 5));
  await api("DELETE", `udf-access-token/by-token/${made[0]}`);
  assert.ok(!(await api("GET", "udf-access-token/self?limit=1000")).json.some((row) => row.token === made[0]));
});

test("what does not fit", async () => {
  const own = server.credentials().token;
  const rows = [
    ["POST", "udf-access-token/new", {}, 422, "udf_id", "no UDF"],
    ["POST", "udf-access-token/new", { udf_id: 5 }, 422, "udf_id", "a number"],
    ["POST", "udf-access-token/new", { udf_id: "00000000-0000-4000-8000-000000000000" }, 404, undefined, "an unknown UDF"],
    ["POST", "udf-access-token/new", { udf_slug: "Tokens", udf_email: "else@other" }, 404, undefined, "somebody else's UDF"],
    ["POST", "udf-access-token/new", { udf_id: udf.id, expires: "soon" }, 422, "expires", "expires soon"],
    ["POST", "udf-access-token/new", { udf_id: udf.id, enabled: "perhaps" }, 422, "enabled", "enabled perhaps"],
    ["POST", "udf-access-token/new", { udf_id: udf.id, caveats: { zooms: [1, 2] } }, 422, "caveats", "caveats are said to be unknown"],
    ["POST", "udf-access-token/new", { udf_id: udf.id, metadata_json: { a: 1 } }, 422, "metadata_json", "metadata is not dropped in silence"],
    ["GET", `udf-access-token/by-token/${own}`, undefined, 404, undefined, "a private token"],
    ["DELETE", `udf-access-token/by-token/${own}`, undefined, 404, undefined, "a private token is not revoked"],
    ["GET", "udf-access-token/by-token/msh_x", undefined, 404, undefined, "nonsense"],
    ["GET", "udf-access-token/self?limit=many", undefined, 422, "limit", "a limit"],
    ["PUT", "udf-access-token/self", undefined, 405, undefined, "a method"],
  ];
  for (const [method, path, body, status, field, what] of rows) {
    const answer = await api(method, path, body);
    assert.equal(answer.status, status, `${what}: ${answer.text}`);
    if (field) assert.equal(answer.json.detail[0].loc[1], field, what);
  }
  const { token } = await make();
  for (const [method, path] of [["GET", "udf-access-token/self"], ["POST", "udf-access-token/new"], ["DELETE", `udf-access-token/by-token/${token}`]])
    assert.equal((await api(method, path, method === "POST" ? {} : undefined, { authorization: `Bearer ${token}` })).status, 401, "a shared token manages nothing");
});
