// A server for a test: its own data directory, ports that the kernel picks, and its output kept for when it fails.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, chmodSync, mkdirSync, rmSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import http from "node:http";
import net from "node:net";
import http2 from "node:http2";

export const build = process.env.MOONGATE_BUILD;
export const root = process.env.MOONGATE_ROOT;
export const program = join(build, "moongate");

/** A folder that other users may pass (the server may drop its rights). */
export function folder(prefix = "moongate-test-") {
  const dir = mkdtempSync(join(tmpdir(), prefix));
  chmodSync(dir, 0o755);
  return dir;
}

/** Writes UDF `name` into folder `dir`: its Lua text, and further files by name. Returns the UDF's folder. */
export function writeUdf(dir, name, lua, files = {}) {
  mkdirSync(join(dir, name), { recursive: true });
  for (const [file, text] of Object.entries({ ...files, [`${name}.lua`]: lua })) writeFileSync(join(dir, name, file), text);
  return join(dir, name);
}

/** Waits until `probe` gives something true, and gives it; asks again at once or after a few milliseconds. */
export async function until(probe, what, { seconds = 30 } = {}) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
    const value = await probe();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited ${seconds} s in vain: ${what}`);
}

/** Runs a command of the program; gives {code, out, err, json}. */
export function cli(args, { env = {}, cwd } = {}) {
  const { status, stdout, stderr } = spawnSync(program, args, { env: { ...process.env, ...env }, cwd, encoding: "utf8" });
  return { code: status, out: stdout, err: stderr, get json() { return JSON.parse(stdout); } };
}

/** Process ids of a server by role: { front, zygote, fetcher, workers: [] }. */
export function processes(server) {
  const found = { workers: [] }, parents = {};
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number))
    try {
      const [, name, state, parent] = readFileSync(`/proc/${pid}/stat`, "utf8").match(/\((.*)\) (\S) (\d+)/);
      if (state !== "Z") parents[pid] = { name, parent: Number(parent) };
    } catch { /* it has ended */ }
  const under = (pid) => pid === server.child.pid || (parents[pid] && under(parents[pid].parent));
  for (const [pid, { name }] of Object.entries(parents))
    if (!under(Number(pid)) || Number(pid) === server.child.pid) continue;
    else if (name === "mg-worker") found.workers.push(Number(pid));
    else found[name] = Number(pid);
  return found;
}

/** Sends bytes as they are; gives what comes back until the other side closes (or `done` says that it is enough). */
export function raw(server, bytes, done = () => false) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    const socket = net.connect(Number(port), hostname, () => socket.write(bytes));
    let text = "";
    socket.on("data", (part) => {
      text += part.toString("latin1");
      if (done(text)) socket.destroy();
    });
    socket.on("close", () => resolve(text));
    socket.on("error", (error) => error.code === "ECONNRESET" || error.code === "EPIPE" ? resolve(text) : reject(error));
  });
}

/** A port that was free just now. */
export function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Starts `moongate serve …` and resolves when it listens. `udfs` maps names to tokens. */
export async function serve(args = [], { data = folder(), env = {} } = {}) {
  const home = folder();
  const child = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--tls-self-signed",
    "--json", "--data", data, ...args], { env: { ...process.env, HOME: home, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const server = { child, data, home, output: "", log: "", udfs: {} };
  child.stderr.on("data", (bytes) => { server.log += bytes; });
  server.ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
  await new Promise((resolve, reject) => {
    child.stdout.on("data", (bytes) => {
      server.output += bytes;
      if (!server.output.endsWith("\n")) return;
      for (const line of server.output.trim().split("\n")) {
        const row = JSON.parse(line);
        Object.assign(server, { url: row.url, tlsUrl: row.tls_url });
        server.udfs[row.udf] = row.token;
      }
      resolve();
    });
    server.ended.then((code) => reject(new Error(`the server ended with ${code}:\n${server.log}`)));
  });
  server.stop = async ({ keep = false } = {}) => {
    for (const session of sessions.splice(0)) session.close();
    child.kill("SIGTERM");
    const code = await server.ended;
    rmSync(home, { recursive: true, force: true });
    if (!keep) rmSync(data, { recursive: true, force: true });
    const crash = !server.mayCrash && server.log.match(/.*"message":"(front|zygote|fetcher) ended.*/);
    if (crash) throw new Error(`a process of the server crashed: ${crash[0]}`);
    return code;
  };
  server.credentials = () => JSON.parse(readFileSync(join(home, ".moongate/credentials")));
  server.bearer = () => ({ authorization: `Bearer ${server.credentials().token}` });
  server.ready = async () => {
    for (;;) {
      const answer = await request(server, { path: "/ready" });
      if (answer.status === 200) return JSON.parse(answer.text);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  server.metric = async (name) => {
    const { text } = await request(server, { path: "/metrics" });
    return Number(text.match(new RegExp(`^${name} (\\S+)`, "m"))?.[1]);
  };
  return server;
}

const sessions = [];

/** One request, on a connection of its own unless an agent is given; `version` is "1.1" (clear) or "2" (TLS). Resolves to {status, headers, body, text}. */
export function request(server, { path, method = "GET", headers = {}, body, version = "1.1", agent = false }) {
  return version === "2" ? requestHttp2(server, { path, method, headers, body })
    : new Promise((resolve, reject) => {
      const call = http.request(server.url + path, { method, headers, agent }, (answer) => {
        const parts = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("end", () => resolve(answerOf(answer.statusCode, answer.headers, parts)));
        answer.on("error", reject);
      });
      call.on("error", reject);
      call.end(body);
    });
}

function requestHttp2(server, { path, method, headers, body }) {
  return new Promise((resolve, reject) => {
    if (server.session?.closed || server.session?.destroyed) server.session = undefined;
    server.session ??= http2.connect(server.tlsUrl, { rejectUnauthorized: false });
    if (!sessions.includes(server.session)) {
      sessions.push(server.session);
      const forget = () => { server.session = undefined; };
      for (const event of ["error", "close", "goaway"]) server.session.on(event, forget);
    }
    const stream = server.session.request({ ":path": path, ":method": method, ...headers });
    const parts = [];
    let head;
    stream.on("response", (h) => { head = h; });
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => head ? resolve(answerOf(head[":status"], head, parts)) : reject(new Error("no answer")));
    stream.on("error", reject);
    stream.end(body);
  });
}

function answerOf(status, headers, parts) {
  const body = Buffer.concat(parts);
  return { status, headers, body, get text() { return body.toString("utf8"); }, get json() { return JSON.parse(body); } };
}
