// What an operator meets: the admin listener, links that previews fetch, set-ups that cannot work, a stop.
import test from "node:test";
import assert from "node:assert/strict";
import { writeFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cli, folder, freePort, request, serve, writeUdf } from "../lib/server.mjs";

test("/metrics is open on the admin listener alone to who is not at the loopback", async () => {
  const dir = folder(), port = await freePort();
  writeUdf(dir, "Page", 'local moon = require "moon"\nreturn moon.udf(function() return "hi" end, {})\n');
  const server = await serve([dir, "--no-examples", "--admin-listen", `127.0.0.1:${port}`]);
  try {
    const headers = { "x-forwarded-for": "203.0.113.9" }; // through somebody's proxy: not the operator
    assert.equal((await request(server, { path: "/metrics", headers })).status, 401);
    const admin = { ...server, url: `http://127.0.0.1:${port}` };
    const answer = await request(admin, { path: "/metrics", headers });
    assert.equal(answer.status, 200);
    assert.match(answer.text, /^moongate_requests_total /m);
  } finally {
    assert.equal(await server.stop(), 0);
    rmSync(dir, { recursive: true, force: true });
  }
});

test("a set-up that cannot work ends serve with code 1 and one message", async () => {
  const dir = folder(), bad = join(dir, "bad.pem");
  writeFileSync(bad, "no certificate\n");
  for (const [args, says] of [
    [["--tls-cert", bad, "--tls-key", bad], /cannot read the certificate/],
    [["--trusted-proxy", "nonsense"], /nonsense.* is not an address or CIDR/],
    [[join(dir, "missing")], /missing: No such file or directory/],
  ]) {
    const run = cli(["serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--data", join(dir, "data"), ...args],
      { env: { HOME: dir } });
    assert.equal(run.code, 1, args.join(" "));
    assert.match(run.err, says);
    const lines = run.err.trim().split("\n").filter((line) => !line.includes("staying root"));
    assert.equal(lines.length, 1, run.err);
  }
  rmSync(dir, { recursive: true, force: true });
});
