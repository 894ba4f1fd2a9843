// Saved UDFs over REST: save, load, list, versions, and what is refused. Zips are made by Python's zipfile and read by yauzl.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import yauzl from "yauzl";
import { folder, processes, request, serve, until } from "../lib/server.mjs";

const hello = (word) => `local moon = require "moon"\nreturn moon.udf(function(name) return "${word} " .. name end, { name = "you" })\n`;
let server;

async function api(method, path, body, headers = {}) {
  const json = body !== undefined && !(body instanceof Buffer);
  return request(server, { path: `/server/v1/${path}`, method, body: json ? JSON.stringify(body) : body,
    headers: { ...server.bearer(), ...(json ? { "content-type": "application/json" } : {}), ...headers } });
}
const save = async (slug, udf_body, more = {}) => api("POST", "udf/new", { slug, udf_body, ...more });
async function saved(slug, body = hello("Hi"), more = {}) {
  const answer = await save(slug, body, more);
  assert.equal(answer.status, 201, answer.text);
  return { ...answer.json, etag: answer.headers.etag };
}
const run = async (token, query = "") => request(server, { path: `/${token}/run/file${query}` });

before(async () => { server = await serve(); await server.ready(); });
after(() => server.stop());

test("a saved UDF runs at once, by token and privately, and each save is the next answer", async () => {
  const udf = await saved("Greet", hello("Hi"), { create_shared_token: true });
  assert.equal((await run(udf.shared_token)).text, "Hi you");
  assert.equal((await run(udf.shared_token, "?name=Ann")).text, "Hi Ann");
  const path = "/server/v1/realtime/x/api/v1/run/udf/saved/owner/Greet";
  assert.equal((await request(server, { path, headers: server.bearer() })).text, "Hi you");
  for (const word of ["Hello", "Salve", "Moin"]) {
    const answer = await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello(word) });
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await run(udf.shared_token)).text, `${word} you`);
    assert.equal((await run(udf.shared_token)).text, `${word} you`, "also from the cache");
  }
});

test("a UDF that calls a saved one sees its next version", async () => {
  const inner = await saved("Inner", hello("A"));
  const outer = await saved("Outer", 'local moon = require "moon"\nreturn moon.udf(function() return "<" .. moon.run("Inner", { name = "x" }) .. ">" end)\n',
    { create_shared_token: true });
  assert.equal((await run(outer.shared_token)).text, "<A x>");
  await api("POST", `udf/by-id/${inner.id}`, { udf_body: hello("B") });
  await until(async () => (await run(outer.shared_token)).text === "<B x>", "the caller sees the new version");
});

test("objects, lists and look-ups", async () => {
  const udf = await saved("Lists", hello("L"));
  for (const path of [`udf/by-id/${udf.id}`, "udf/by-user-email/owner@local/by-slug/Lists"]) {
    const { json, status, headers } = await api("GET", path);
    assert.equal(status, 200);
    assert.deepEqual([json.id, json.slug, json.udf_body, json.owning_user, json.version], [udf.id, "Lists", hello("L"), "owner@local", 1]);
    assert.match(json.udf_body_hash, /^[0-9a-f]{64}$/);
    assert.equal(headers.etag, udf.etag);
  }
  const all = (await api("GET", "udf/self")).json, names = all.map((row) => row.slug);
  assert.deepEqual(names, [...names].sort());
  assert.ok(names.includes("Lists"));
  assert.deepEqual((await api("GET", "udf/self?skip=1&limit=1")).json.map((row) => row.slug), [names[1]]);
  assert.deepEqual((await api("GET", "udf/self?limit=0")).json, []);
  const shared = await saved("Shared", hello("S"), { create_shared_token: true });
  assert.equal((await api("GET", `udf/shared/by-token/${shared.shared_token}`)).json.id, shared.id);
});

test("public UDFs have a name of their own among all", async () => {
  const udf = await saved("Open", hello("O"), { public: true });
  assert.equal((await run("UDF_Open")).text, "O you");
  assert.ok((await request(server, { path: "/server/v1/udf/public" })).json.some((row) => row.slug === "Open"));
  await api("POST", `udf/by-id/${udf.id}`, { public: false });
  assert.equal((await run("UDF_Open")).status, 404, "no longer public");
});

test("versions, diff, roll back; an unchanged save makes no version", async () => {
  const udf = await saved("Turns", hello("one"), { create_shared_token: true });
  await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello("two") });
  await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello("two") });
  await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello("three") });
  const versions = (await api("GET", `udf/by-id/${udf.id}/versions`)).json;
  assert.deepEqual(versions.map((row) => row.version), [3, 2, 1]);
  assert.equal((await api("GET", `udf/by-id/${udf.id}/versions/2`)).json.udf_body, hello("two"));
  assert.equal((await api("GET", `udf/by-id/${udf.id}/diff?from=1&to=3`)).text,
    `--- a/Turns.lua\n+++ b/Turns.lua\n@@ -1,2 +1,2 @@\n local moon = require "moon"\n-${hello("one").split("\n")[1]}\n+${hello("three").split("\n")[1]}\n`);
  const back = await api("POST", `udf/by-id/${udf.id}/roll-back`, { version: 1 });
  assert.equal(back.json.version, 1);
  assert.equal((await run(udf.shared_token)).text, "one you");
  await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello("four") });
  assert.equal((await api("GET", `udf/by-id/${udf.id}`)).json.version, 4, "numbers are never given out twice");
  assert.equal((await api("GET", `udf/by-id/${udf.id}/versions/9`)).status, 404);
});

test("diffs apply: patch(1) makes the second version of the first", async () => {
  const lines = Array.from({ length: 60 }, (_, i) => `-- line ${i}`);
  const text = (list) => `${list.join("\n")}\n${hello("x")}`;
  const other = [...lines];
  other.splice(50, 2, "-- fifty");
  other.splice(20, 0, "-- new", "-- newer");
  other.splice(3, 1);
  const udf = await saved("Patch", text(lines));
  await api("POST", `udf/by-id/${udf.id}`, { udf_body: text(other) });
  const { text: diff } = await api("GET", `udf/by-id/${udf.id}/diff`);
  const dir = folder();
  writeFileSync(`${dir}/Patch.lua`, text(lines));
  execFileSync("git", ["apply", "--unsafe-paths", "-p1", "-"], { cwd: dir, input: diff });
  assert.equal(readFileSync(`${dir}/Patch.lua`, "utf8"), text(other));
});

test("rename keeps the id, the token and the versions; duplicate copies", async () => {
  const udf = await saved("Before", hello("R"), { create_shared_token: true });
  const renamed = await api("POST", `udf/by-id/${udf.id}`, { slug: "After" });
  assert.equal(renamed.status, 200, renamed.text);
  assert.deepEqual(Object.keys(renamed.json.files), ["After.lua"]);
  assert.equal((await run(udf.shared_token)).text, "R you");
  const copy = await api("POST", `udf/by-id/${udf.id}/duplicate`, { slug: "Copy" });
  assert.equal(copy.status, 201, copy.text);
  assert.notEqual(copy.json.id, udf.id);
  assert.equal(copy.json.files["Copy.lua"], hello("R"));
  assert.equal((await api("POST", `udf/by-id/${copy.json.id}`, { slug: "After" })).status, 409, "the name is taken");
  assert.equal((await save("Before", hello("new"))).status, 201, "the old name is free");
});

test("delete: the token answers 410, the name is free", async () => {
  const udf = await saved("Gone", hello("G"), { create_shared_token: true });
  assert.equal((await run(udf.shared_token)).status, 200);
  assert.equal((await api("DELETE", `udf/by-id/${udf.id}`)).status, 204);
  assert.equal((await run(udf.shared_token)).status, 410, "also what was in the cache");
  assert.equal((await api("GET", `udf/by-id/${udf.id}`)).status, 404);
  await saved("Gone", hello("anew"));
});

test("of two concurrent saves the later knows that it lost", async () => {
  const udf = await saved("Race", hello("0"));
  const both = await Promise.all(["a", "b"].map((word) => api("POST", `udf/by-id/${udf.id}`, { udf_body: hello(word) }, { "if-match": udf.etag })));
  assert.deepEqual(both.map((answer) => answer.status).sort(), [200, 412]);
  const won = both.find((answer) => answer.status === 200);
  assert.equal((await api("GET", `udf/by-id/${udf.id}`)).json.udf_body, won.json.udf_body);
  assert.equal((await api("DELETE", `udf/by-id/${udf.id}`, undefined, { "if-match": udf.etag })).status, 412);
  assert.equal((await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello("c") }, { "if-match": won.headers.etag })).status, 200);
  assert.equal((await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello("d") }, { "if-match": '"nonsense"' })).status, 412);
});

const meta = (change = {}) => JSON.stringify({ version: "0.0.3", job_config: { version: "0.0.3", name: "M", steps: [{ type: "udf",
  udf: { type: "lua", name: "M", entrypoint: "udf", parameters: {}, metadata: {}, source: "M.lua", ...change } }] } });

// what is sent, the field, line and column (undefined: none), a part of the message, what it is
const broken = [
  [{ udf_body: 'local moon = require "moon"\nlocal x = = 1\n' }, "udf_body", 2, 11, /unexpected symbol near '='/, "a syntax error"],
  [{ udf_body: 'local moon = require "moon"\nreturn moon.udf(function()\n' }, "udf_body", 3, 1, /near '<eof>'/, "an unfinished function"],
  [{ udf_body: '  error("at load")\n' }, "udf_body", 1, 3, /at load/, "an error at load"],
  [{ udf_body: "return 5" }, "udf_body", 1, 1, /moon\.udf/, "no UDF"],
  [{ files: { "M.lua": hello("x"), "meta.json": '{\n  "version" 5\n}' } }, "files", 2, undefined, /meta\.json/, "meta.json that is no JSON"],
  [{ files: { "M.lua": hello("x"), "meta.json": meta({ source: "Other.lua" }) } }, "files", undefined, undefined, /source is "Other.lua"/, "a wrong source"],
  [{ files: { "Other.lua": hello("x") } }, "files", undefined, undefined, /M\.lua/, "no code file"],
  [{ files: { "M.lua": hello("x"), "string.lua": "" } }, "files", undefined, undefined, /library/, "a library's name"],
  [{ files: { "M.lua": hello("x"), "../up.lua": "" } }, "files", undefined, undefined, /no file of a UDF/, "a path"],
  [{ files: { "M.lua": 5 } }, "files", undefined, undefined, /string/, "a file that is no text"],
  [{ files: [] }, "files", undefined, undefined, /object/, "files that are a list"],
  [{}, "udf_body", undefined, undefined, /required/, "no body"],
  [{ udf_body: 5 }, "udf_body", undefined, undefined, /string/, "a number"],
  [{ slug: "a-b", udf_body: hello("x") }, "slug", undefined, undefined, /name/, "a bad name"],
  [{ slug: "../x", udf_body: hello("x") }, "slug", undefined, undefined, /name/, "a path as a name"],
  [{ slug: 5, udf_body: hello("x") }, "slug", undefined, undefined, /string/, "a number as a name"],
  [{ udf_body: hello("x"), public: "maybe" }, "public", undefined, undefined, /true or false/, "public: maybe"],
];
test("what is broken is not saved, and the answer says where", async () => {
  for (const [body, field, line, column, message, what] of broken) {
    const answer = await api("POST", "udf/new", { slug: "M", ...body });
    assert.equal(answer.status, 422, `${what}: ${answer.text}`);
    const [detail] = answer.json.detail;
    assert.equal(detail.loc[1], field, what);
    assert.match(detail.msg, message, what);
    assert.equal(detail.line, line, `${what}: ${answer.text}`);
    if (column) assert.equal(detail.column, column, `${what}: ${answer.text}`);
  }
  assert.equal((await api("GET", "udf/by-user-email/owner@local/by-slug/M")).status, 404);
});

test("bad requests", async () => {
  const rows = [
    ["POST", "udf/new", Buffer.from("{"), { "content-type": "application/json" }, 400, "broken JSON"],
    ["POST", "udf/new", Buffer.from("[]"), { "content-type": "application/json" }, 400, "a list"],
    ["POST", "udf/new", Buffer.from("x"), { "content-type": "text/plain" }, 415, "text"],
    ["POST", "udf/new", Buffer.alloc(1100000, "x"), { "content-type": "application/json" }, 413, "more than 1 MB"],
    ["GET", "udf/self?limit=x", undefined, {}, 422, "a limit that is no number"],
    ["GET", "udf/self?limit=-1", undefined, {}, 422, "a negative limit"],
    ["GET", "udf/self?skip=99999999999999999999", undefined, {}, 422, "a huge skip"],
    ["GET", "udf/by-id/nonsense", undefined, {}, 404, "no id"],
    ["GET", "udf/by-id/00000000-0000-4000-8000-000000000000", undefined, {}, 404, "an unknown id"],
    ["GET", "udf/by-id/%zz", undefined, {}, 404, "a broken escape"],
    ["GET", "udf/nonsense", undefined, {}, 404, "no such route"],
    ["PUT", "udf/self", undefined, {}, 405, "a method that is not taken"],
    ["DELETE", "udf/by-id/00000000-0000-4000-8000-000000000000", undefined, {}, 404, "delete what is not there"],
  ];
  for (const [method, path, body, headers, status, what] of rows) {
    const answer = await api(method, path, body, headers);
    assert.equal(answer.status, status, `${what}: ${answer.text}`);
    assert.ok(answer.json.detail, what);
  }
  for (const token of ["", "msh_x", "nonsense", server.credentials().token.slice(0, -1) + "x"]) {
    const { status } = await api("POST", "udf/new", { slug: "No", udf_body: hello("x") }, { authorization: `Bearer ${token}` });
    assert.equal(status, 401, token);
  }
  const { shared_token } = await saved("Weak", hello("w"), { create_shared_token: true });
  assert.equal((await api("GET", "udf/self", undefined, { authorization: `Bearer ${shared_token}` })).status, 401, "a shared token is no account's");
});

/** A zip of [name, text, kind] as Python writes it. */
function zip(entries) {
  return execFileSync("python3", ["-c", `
import sys, json, zipfile, io
out = io.BytesIO()
z = zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED)
for name, text, kind in ((e + [""])[:3] for e in json.load(sys.stdin)):
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (0o120777 if kind == "link" else 0o100644) << 16
    z.writestr(info, text * 3000000 if kind == "bomb" else text)
z.close()
sys.stdout.buffer.write(out.getvalue())`], { input: JSON.stringify(entries), maxBuffer: 1 << 26 });
}
const unzip = (bytes) => new Promise((resolve, reject) => yauzl.fromBuffer(bytes, { lazyEntries: true }, (error, file) => {
  if (error) return reject(error);
  const found = {};
  file.on("entry", (entry) => file.openReadStream(entry, (bad, stream) => {
    const parts = [];
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => { found[entry.fileName] = Buffer.concat(parts).toString(); file.readEntry(); });
  }));
  file.on("end", () => resolve(found));
  file.readEntry();
}));

test("a zip of a folder goes in, and comes out with the same files", async () => {
  const bytes = zip([["Zipped/Zipped.lua", hello("Z")], ["Zipped/README.md", "# Zipped\n"], ["Zipped/utils.lua", "return {}\n"],
    ["Zipped/.hidden", "x"], ["Zipped/notes.txt", "x"], ["__MACOSX/Zipped/Zipped.lua", "x"]]);
  const answer = await api("POST", "udf/new", bytes, { "content-type": "application/zip" });
  assert.equal(answer.status, 201, answer.text);
  assert.equal(answer.json.slug, "Zipped");
  const back = await api("GET", `udf/by-id/${answer.json.id}/zip`);
  assert.equal(back.headers["content-type"], "application/zip");
  assert.deepEqual(await unzip(back.body), { "Zipped/README.md": "# Zipped\n", "Zipped/Zipped.lua": hello("Z"), "Zipped/utils.lua": "return {}\n" });
  const again = await api("POST", `udf/by-id/${answer.json.id}`, back.body, { "content-type": "application/zip" });
  assert.equal(again.json.version, 1, "the same files are the same version");
});

test("hostile zips are refused", async () => {
  const good = ["Evil/Evil.lua", hello("E")];
  const rows = [
    [zip([good, ["Evil/../../up.lua", "x"]]), /leads out/, "slip"],
    [zip([good, ["/etc/x.lua", "x"]]), /leads out/, "an absolute path"],
    [zip([good, ["Evil/link.lua", "/etc/passwd", "link"]]), /link/, "a link"],
    [zip([good, ["Evil/bomb.txt", "0", "bomb"]]), /./, "a bomb"],
    [zip([good, ["Other/Other.lua", "x"]]), /another folder/, "two folders"],
    [zip([good]).subarray(0, 60), /zip/, "a cut file"],
    [Buffer.from("PK nonsense"), /zip/, "no zip"],
    [zip([["readme.txt", "x"]]), /no file of a UDF/, "nothing of a UDF"],
  ];
  for (const [bytes, message, what] of rows) {
    const answer = await api("POST", "udf/new?slug=Evil", bytes, { "content-type": "application/zip" });
    assert.ok([422, 413].includes(answer.status), `${what}: ${answer.status} ${answer.text}`);
    assert.match(answer.json.error.message, message, what);
  }
  const whole = zip([good]);
  for (let i = 0; i < whole.length; i += 3) { // flipped bytes: refused or read, never a crash
    const bytes = Buffer.from(whole);
    bytes[i] ^= 0x55;
    const { status } = await api("POST", `udf/new?slug=Flip${i}`, bytes, { "content-type": "application/zip" });
    assert.ok([201, 413, 422].includes(status), `byte ${i}: ${status}`);
  }
});

test("Fused's own form of a UDF is taken", async () => {
  const body = JSON.stringify({ name: "Form", code: 'local moon = require "moon"\nlocal u = require "utils"\nreturn moon.udf(function() return u.word end)\n',
    headers: [{ module_name: "utils", source_code: 'return { word = "from a module" }\n' }], metadata: { "fused:description": "F" } });
  const udf = await saved("Form", body, { udf_type: "auto", create_shared_token: true });
  assert.deepEqual(Object.keys(udf.files).sort(), ["Form.lua", "meta.json", "utils.lua"]);
  assert.equal((await run(udf.shared_token)).text, "from a module");
});

test("nothing is lost or half-saved over kill -9 and a restart", async () => {
  const one = await serve();
  const was = server;
  server = one;
  try {
    const udf = await saved("Kept", hello("0"), { create_shared_token: true });
    const wall = processes(one);
    let acknowledged = 0, ended = false;
    const writer = (async () => {
      for (let i = 1; i < 500 && !ended; i++)
        try {
          const answer = await api("POST", `udf/by-id/${udf.id}`, { udf_body: hello(String(i)) });
          if (answer.status === 200) acknowledged = i;
        } catch { return; }
    })();
    await until(() => acknowledged > 5, "a few saves");
    one.mayCrash = true;
    process.kill(wall.front, "SIGKILL");
    ended = true;
    await writer;
    one.child.kill("SIGKILL");
    await one.ended;
    server = await serve([], { data: one.data });
    await server.ready();
    const now = (await api("GET", `udf/by-id/${udf.id}`)).json;
    const n = Number(now.udf_body.match(/"(\d+) "/)[1]);
    assert.ok(n === acknowledged || n === acknowledged + 1, `${n} after ${acknowledged} were acknowledged`);
    assert.equal((await run(udf.shared_token)).text, `${n} you`);
    assert.equal((await api("GET", `udf/by-id/${udf.id}/versions`)).json.length, n + 1);
  } finally {
    await server.stop();
    server = was;
  }
});
