// kill -9 of each process under load, 20 times each: the server answers again, what was acknowledged is still there. And
// what must not start: a second server on one data directory, a state that a newer version wrote.
import { test } from "node:test";
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cli, folder, processes, request, serve, until, writeUdf } from "../lib/server.mjs";

// The master waits twice as long before each further restart of a process: few kills of many servers are many kills soon.
const SERVERS = Number(process.env.MOONGATE_FAULT_SERVERS ?? 5), KILLS = 4;
const dir = folder();
writeUdf(dir, "Count", `local moon = require "moon"
return moon.udf(function(n) local s = 0 for i = 1, 1e6 do s = s + i % n end return "n " .. n end, { n = 1 })`);

/** Asks for cold and cached answers until told to stop. While something is dead a connection may break, or the answer be
 * 502 or 503, or 500 when a worker was killed in the middle of a run: never another body, never a lost token. */
function startLoad(server) {
  const load = { asked: 0, strange: [], stop: false };
  const lanes = Array.from({ length: 4 }, async (_, lane) => {
    for (let i = 0; !load.stop; i++, load.asked++) {
      const n = i % 3 ? 1 + i % 5 : 100 + lane * 1e6 + i;
      const answer = await request(server, { path: `/${server.udfs.Count}/run?n=${n}` }).catch(() => null);
      if (answer?.status === 200 && answer.text !== `n ${n}`) load.strange.push(answer.text);
      else if (answer && ![200, 500, 502, 503].includes(answer.status)) load.strange.push(`${answer.status} ${answer.text}`);
      else if (answer?.status === 500 && answer.json.error.code !== "udf_crashed") load.strange.push(answer.text);
      if (!answer) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  load.end = () => { load.stop = true; return Promise.all(lanes); };
  return load;
}

const answers = (server, path) =>
  until(() => request(server, { path }).then((a) => a.status === 200, () => false), `${path} is answered`);

/** A token, as the command line acknowledges it; and one revoked. */
function makeTokens(server) {
  const run = (...args) => cli(["token", ...args, "--data", server.data, "--json"], { env: { HOME: server.home } });
  const good = run("create", "Count"), bad = run("create", "Count");
  assert.equal(good.code, 0, good.err);
  assert.equal(bad.code, 0, bad.err);
  assert.equal(run("revoke", bad.json.token).code, 0);
  return [[good.json.token, 200], [bad.json.token, 401]];
}

async function killAll(server, role, kills, tokens) {
  for (let i = 0; i < kills; i++) {
    const now = await until(() => {
      const all = processes(server);
      return all.workers.length && all.front && all.zygote && all.fetcher && all;
    }, `all processes are there before kill ${i}`);
    const pid = role === "worker" ? now.workers[i % now.workers.length] : now[role];
    if (i % 2 === 0) tokens.push(...makeTokens(server));
    process.kill(pid, "SIGKILL");
    await until(() => {
      const all = processes(server);
      return role === "worker" ? !all.workers.includes(pid) && all.workers.length : all[role] && all[role] !== pid;
    }, `another ${role} after kill ${i}`);
    await answers(server, `/${server.udfs.Count}/run?n=${i + 1000}&cache_max_age=0`);
    if (role !== "front") assert.equal(processes(server).front, now.front, "the front lives on");
  }
}

for (let n = 1; n <= SERVERS; n++)
  test(`${KILLS} kills of each process under load, server ${n} of ${SERVERS}`, async (t) => {
    const server = await serve([dir, "--no-examples", "--workers", "2"]);
    const tokens = [];
    server.mayCrash = true; // it is made to
    await server.ready();
    const load = startLoad(server);
    try {
      for (const role of ["worker", "zygote", "fetcher", "front"])
        await t.test(role, () => killAll(server, role, KILLS, tokens));
      await t.test("every acknowledged token is as it was, nothing strange was answered, all are there again", async () => {
        const state = await until(async () => {
          const answer = await request(server, { path: "/ready" }).catch(() => null);
          return answer?.status === 200 && answer.json.workers === 2 && answer.json.fetcher && answer.json;
        }, "two workers and the fetcher are ready");
        assert.ok(state.sandbox.includes("seccomp"));
        for (const [token, status] of tokens)
          assert.equal((await request(server, { path: `/${token}/run` })).status, status, token);
        assert.equal(tokens.length, 4 * KILLS);
        assert.deepEqual(load.strange.slice(0, 5), []);
        assert.ok(load.asked > 20);
      });
    } finally {
      await load.end();
      await server.stop();
    }
  });

test("a second server on the same data directory says who has it, and ends", async () => {
  const server = await serve([dir, "--no-examples"]);
  const second = cli(["serve", dir, "--no-examples", "--listen", "127.0.0.1:0", "--data", server.data], { env: { HOME: server.home } });
  assert.equal(second.code, 1);
  assert.match(second.err, new RegExp(`is in use by another server \\(process ${server.child.pid}\\); stop it, or choose another`));
  assert.equal(await server.stop(), 0);
});

test("a state that a newer version wrote is refused, and left as it is", async () => {
  const server = await serve([dir, "--no-examples"]), file = join(server.data, "state/data.mdb");
  assert.equal(await server.stop({ keep: true }), 0);
  const bytes = readFileSync(file), name = Buffer.from("version");
  let records = 0;
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1))
    if (bytes[at + name.length] !== "s".charCodeAt(0)) { // "versions" is a database
      bytes[at + name.length + 1] = 99;
      records++;
    }
  assert.ok(records > 0, "the version record was found");
  writeFileSync(file, bytes);
  const newer = cli(["serve", dir, "--no-examples", "--listen", "127.0.0.1:0", "--data", server.data], { env: { HOME: server.home } });
  assert.equal(newer.code, 1);
  assert.match(newer.err, /version 99/);
  assert.deepEqual(readFileSync(file), bytes);
});

test("when the master is killed, nothing of it stays, and a new server starts at once", async () => {
  const own = await serve([dir, "--no-examples"], { data: folder() });
  await own.ready();
  const { front, zygote, fetcher, workers } = processes(own);
  process.kill(own.child.pid, "SIGKILL");
  await own.ended;
  await until(() => [front, zygote, fetcher, ...workers].every((pid) => !existsSync(`/proc/${pid}`)), "all processes have ended");
  const again = await serve([dir, "--no-examples"], { data: own.data });
  assert.deepEqual(again.udfs, own.udfs, "the same tokens");
  assert.equal(await again.stop(), 0);
});

test("SIGTERM lets a request end", async () => {
  const own = await serve([dir, "--no-examples"]);
  await own.ready();
  await request(own, { path: `/${own.udfs.Count}/run` });
  const slow = request(own, { path: `/${own.udfs.Count}/run?n=12345&cache_max_age=0` });
  await until(async () => await own.metric("moongate_runs_total") >= 2, "it runs");
  const ended = own.stop();
  assert.equal((await slow).text, "n 12345");
  assert.equal(await ended, 0);
});
