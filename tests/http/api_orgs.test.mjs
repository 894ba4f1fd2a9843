// Organisations: what is one's does not exist for the other. The requests are made from the server's own table of routes, so
// that a new row is tried as well.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { cli, request, root, serve } from "../lib/server.mjs";

const lua = (word) => `local moon = require "moon"\nreturn moon.udf(function() return "${word}" end)\n`;
let server, us, them;

/** Signs in by the link that `account create` prints; gives the headers of its account. */
async function account(name) {
  const { json, code, err } = cli(["account", "create", name, "--json", "--data", server.data, "--public-url", server.url]);
  assert.equal(code, 0, err);
  const { text } = await request(server, { path: new URL(json.url).pathname });
  return { authorization: `Bearer ${text.match(/msh_[0-9A-Za-z]{49}/)[0]}`, "content-type": "application/json" };
}
const api = (who, method, path, body) => request(server, { path: `/server/v1/${path}`, method, headers: who,
  body: body === undefined ? undefined : JSON.stringify(body) });

before(async () => {
  server = await serve();
  await server.ready();
  us = await account("ann@acme");
  them = await account("eve@evil");
});
after(() => server.stop());

test("each organisation has its own UDFs, runs and names", async () => {
  for (const [who, word, handle] of [[us, "ours", "ann@acme"], [them, "theirs", "eve@evil"]]) {
    const made = await api(who, "POST", "udf/new", { slug: "Same", udf_body: lua(word), create_shared_token: true });
    assert.equal(made.status, 201, made.text);
    assert.equal((await request(server, { path: `/${made.json.shared_token}/run/file` })).text, word);
    assert.equal((await request(server, { path: `/server/v1/realtime/x/api/v1/run/udf/saved/${handle}/Same`, headers: who })).text, word);
    assert.deepEqual((await api(who, "GET", "udf/self")).json.map((row) => row.owning_user), [handle]);
  }
  assert.deepEqual((await api(server.bearer(), "GET", "udf/self")).json, [], "the operator's account has none of them");
});

test("every route of the table, with another organisation's credentials, answers 404 (or a list without it)", async () => {
  const udf = (await api(us, "POST", "udf/new", { slug: "Secret_Sauce", udf_body: lua("x") })).json;
  const { token } = (await api(us, "POST", "udf-access-token/new", { udf_id: udf.id })).json;
  const values = { "by-id": udf.id, "by-name": "Secret_Sauce", "by-user-email": "ann@acme", "by-slug": "Secret_Sauce", "by-token": token, versions: "1" };
  const folder = join(root, "gateway/serve"), rows = [];
  for (const file of readdirSync(folder).filter((name) => /^route_.*\.c$/.test(name)))
    for (const [, method, path] of readFileSync(join(folder, file), "utf8").matchAll(/^ {4}\{"(GET|POST|DELETE)", "([^"]+)",/gm)) rows.push([method, path]);
  assert.ok(rows.length >= 20, `${rows.length} rows were found`);
  for (const [method, path] of rows) {
    const parts = path.split("/");
    const real = parts.map((part, i) => part !== "*" ? part : values[parts[i - 1]] ?? assert.fail(`${path}: what is this segment?`)).join("/");
    const body = method !== "POST" ? undefined : path.endsWith("/new") ? { slug: "Taken", udf_id: udf.id, udf_body: lua("y") } : { slug: "Taken", version: 1, enabled: false, udf_body: lua("y") };
    const answer = await api(them, method, real, body);
    if (path.includes("*") || path === "udf-access-token/new") assert.equal(answer.status, 404, `${method} ${real}: ${answer.text}`);
    for (const word of [udf.id, "Secret_Sauce", "ann@acme", token]) assert.ok(!answer.text.includes(word), `${method} ${real} tells ${word}`);
    assert.equal((await request(server, { path: `/server/v1/${real}`, method, headers: { "content-type": "application/json" },
      body: body && JSON.stringify(body) })).status, path === "udf/public" ? 200 : 401, `${method} ${real} without credentials`);
  }
  assert.equal((await request(server, { path: "/server/v1/realtime/x/api/v1/run/udf/saved/ann@acme/Secret_Sauce", headers: them })).status, 404);
  assert.equal((await api(us, "GET", `udf/by-id/${udf.id}`)).json.revision, 1, "nothing was changed");
  assert.equal((await api(us, "GET", `udf-access-token/by-token/${token}`)).json.enabled, true);
});

test("a UDF calls no other organisation's", async () => {
  await api(us, "POST", "udf/new", { slug: "Hidden", udf_body: lua("hidden") });
  const made = await api(them, "POST", "udf/new", { slug: "Caller", create_shared_token: true,
    udf_body: 'local moon = require "moon"\nreturn moon.udf(function() return moon.run("Hidden") end)\n' });
  const answer = await request(server, { path: `/${made.json.shared_token}/run/file`, headers: them });
  assert.notEqual(answer.status, 200);
  assert.match(answer.text, /no UDF named/);
});

test("accounts: a taken name, a bad name", () => {
  for (const [name, code] of [["ann@acme", 1], ["ann", 2], ["@acme", 2], ["ann@", 2], ["a@b@c", 2], ["ann@../up", 1]])
    assert.equal(cli(["account", "create", name, "--data", server.data]).code, code, name);
});
