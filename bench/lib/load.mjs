// Load generators, each on the last processor; servers have the first.
import { spawn, spawnSync } from "node:child_process";
import { cpus, tmpdir } from "node:os";
import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

const processors = cpus().length;
const pin = (processor) => processors > 1 ? ["taskset", "-c", String(processor)] : [];
export const onServer = pin(0), onLoad = pin(processors - 1);
export const has = (program) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;

/** Runs a program to its end; gives its standard output. */
export function output(command, { env = {}, input, cwd } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0], command.slice(1), { env: { ...process.env, ...env }, cwd, stdio: ["pipe", "pipe", "pipe"] });
    let out = "", err = "";
    child.stdout.on("data", (part) => { out += part; });
    child.stderr.on("data", (part) => { err += part; });
    child.on("error", reject);
    child.on("close", (code) => code === 0 ? resolve(out) : reject(new Error(`${command.join(" ")} ended with ${code}:\n${err}${out}`)));
    child.stdin.end(input);
  });
}

function refuse(url) {
  if (!/^https?:\/\/127\.0\.0\.1[:/]/.test(url)) throw new Error(`only loopback is measured, not ${url}`);
}

/** wrk over one URL, or over a list of paths in turn. Resolves to {value: requests a second, done}. */
export async function wrk(url, { connections = 16, seconds = 3, paths } = {}) {
  refuse(url);
  let script, dir;
  if (paths) {
    dir = mkdtempSync(join(tmpdir(), "moongate-bench-"));
    script = join(dir, "paths.lua");
    writeFileSync(script, `local paths, i = { ${paths.map((path) => `[==[${path}]==]`).join(", ")} }, 0\n` +
      "function request()\n  i = i % #paths + 1\n  return wrk.format(nil, paths[i])\nend\n");
  }
  const text = await output([...onLoad, "wrk", "-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "20s",
    ...(script ? ["-s", script] : []), url]);
  if (dir) rmSync(dir, { recursive: true });
  const bad = text.match(/Non-2xx or 3xx responses: (\d+)/) ?? text.match(/Socket errors: (.*)/);
  if (bad) throw new Error(`${url}: ${bad[0]}`);
  return { value: Number(text.match(/Requests\/sec:\s+([\d.]+)/)[1]), done: Number(text.match(/(\d+) requests in/)[1]) };
}

/** h2load: HTTP/2 over TLS. */
export async function h2load(url, { connections = 4, streams = 16, seconds = 3 } = {}) {
  refuse(url);
  const text = await output([...onLoad, "h2load", "-t1", `-c${connections}`, `-m${streams}`, "-D", String(seconds), url]);
  const done = Number(text.match(/(\d+) succeeded/)[1]), bad = text.match(/ (\d+) 4xx, (\d+) 5xx/);
  if (Number(bad[1]) || Number(bad[2])) throw new Error(`${url}: ${bad[0]}`);
  return { value: Number(text.match(/([\d.]+) req\/s/)[1]), done };
}
