// The access log in a file: one JSON object a request, tokens redacted; opened again at SIGHUP, for those who rotate it.
import { test } from "node:test";
import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { folder, raw, request, serve, until, writeUdf } from "../lib/server.mjs";

test("a log that was moved away is opened anew at SIGHUP, and nothing is lost", async () => {
  const dir = folder(), logs = folder(), file = join(logs, "access.log"), moved = join(logs, "access.log.1");
  chmodSync(logs, 0o777); // the front is not root
  writeUdf(dir, "Word", `local moon = require "moon"\nreturn moon.udf(function() return "word" end, {})`);
  const server = await serve([dir, "--no-examples", "--access-log", file]);
  const lines = (of) => existsSync(of) ? readFileSync(of, "utf8").trim().split("\n").filter(Boolean).map((line) => JSON.parse(line)) : [];
  try {
    await server.ready();
    const ask = (mark) => request(server, { path: `/${server.udfs.Word}/run?_=${mark}` });
    for (let i = 0; i < 5; i++) assert.equal((await ask(i)).text, "word");
    const of = (list) => list.filter(({ udf }) => udf === "Word");
    await until(() => of(lines(file)).length === 5, "five lines");
    renameSync(file, moved);
    assert.equal((await ask("moved")).status, 200);
    server.child.kill("SIGHUP");
    await until(() => existsSync(file), "the new file");
    for (let i = 0; i < 3; i++) assert.equal((await ask(`new${i}`)).status, 200);
    await until(() => of(lines(file)).length >= 3, "lines in the new file");
    const all = [...of(lines(moved)), ...of(lines(file))];
    assert.equal(all.length, 9);
    for (const line of all) {
      assert.deepEqual([line.status, line.bytes, line.method], [200, 4, "GET"]);
      assert.ok(!line.path.includes(server.udfs.Word), "no token in the log");
      assert.match(line.id, /^[0-9a-f]{16}$/);
    }
    assert.equal(new Set(all.map(({ id }) => id)).size, 9);
  } finally {
    await server.stop();
  }
});

test("a trusted proxy names its client by the PROXY protocol, version 1 and 2", async () => {
  const logs = folder(), file = join(logs, "access.log");
  const server = await serve(["--no-examples", "--access-log", file, "--trusted-proxy", "127.0.0.1"]);
  const get = (mark) => Buffer.from(`GET /health?_=${mark} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  const v2 = (...bytes) => Buffer.concat([Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1"), Buffer.from(bytes)]);
  const rows = [
    [Buffer.from("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"), "192.0.2.1", "version 1"],
    [v2(0x21, 0x11, 0, 12, 192, 0, 2, 2, 127, 0, 0, 1, 0, 1, 0, 2), "192.0.2.2", "version 2"],
    [v2(0x21, 0x21, 0, 36, 0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 3, ...Array(20).fill(0)), "2001:db8::3", "version 2, IPv6"],
    [v2(0x20, 0, 0, 0), "127.0.0.1", "version 2, the proxy's own check"],
    [Buffer.alloc(0), "127.0.0.1", "without it"],
  ];
  try {
    await server.ready();
    for (const [first, , sentence] of rows)
      assert.match(await raw(server, Buffer.concat([first, get("x")])), /^HTTP\/1\.1 200 /, sentence);
    const clients = () => readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line))
      .filter(({ path }) => path === "/health").map(({ client }) => client);
    await until(() => existsSync(file) && readFileSync(file, "utf8").endsWith("\n") && clients().length === rows.length, "the log");
    assert.deepEqual(clients(), rows.map(([, client]) => client));
    assert.equal(await raw(server, Buffer.concat([v2(0x31, 0x11, 0, 0), get("y")])), "", "another version is closed");
  } finally {
    await server.stop();
  }
});
