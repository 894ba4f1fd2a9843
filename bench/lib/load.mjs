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

const lists = [];
process.on("exit", () => lists.forEach((dir) => rmSync(dir, { recursive: true, force: true })));

function refuse(url) {
  if (!/^https?:\/\/127\.0\.0\.1[:/]/.test(url)) throw new Error(`only loopback is measured, not ${url}`);
}

/** wrk over one URL. Resolves to {value: requests a second, done}. */
export async function wrk(url, { connections = 16, seconds = 3 } = {}) {
  refuse(url);
  const text = await output([...onLoad, "wrk", "-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "20s", url]);
  const bad = text.match(/Non-2xx or 3xx responses: (\d+)/) ?? text.match(/Socket errors: (.*)/);
  if (bad) throw new Error(`${url}: ${bad[0]}`);
  return { value: Number(text.match(/Requests\/sec:\s+([\d.]+)/)[1]), done: Number(text.match(/(\d+) requests in/)[1]) };
}

/**
 * HTTP/1.1 over a list of URLs in turn, for answers that are computed: a whole number of rounds over the list that takes
 * about `seconds`, found out in the first call. No request is left unanswered at the end, which would cancel its run.
 */
export function listed(urls, { connections = 4, seconds = 3 } = {}) {
  urls.forEach(refuse);
  const dir = mkdtempSync(join(tmpdir(), "moongate-bench-")), file = join(dir, "urls");
  writeFileSync(file, `${urls.join("\n")}\n`);
  lists.push(dir);
  const run = async (n) => {
    const text = await output([...onLoad, "h2load", "--h1", "-t1", `-c${connections}`, "-n", String(n), "-i", file]);
    const good = Number(text.match(/(\d+) 2xx/)[1]);
    if (good !== n) throw new Error(`${urls[0]} and so on: ${n - good} of ${n} answers are not 2xx:\n${text}`);
    return { value: Number(text.match(/([\d.]+) req\/s/)[1]), done: n };
  };
  let n = 0;
  return async () => {
    if (!n) {
      await run(Math.max(urls.length, connections)); // opens files, fills caches
      const { value } = await run(Math.max(urls.length, connections));
      n = Math.max(1, Math.round(value * seconds / urls.length)) * urls.length;
      n = Math.max(n, connections);
    }
    return run(n);
  };
}

/** h2load: HTTP/2 over TLS. */
export async function h2load(url, { connections = 4, streams = 16, seconds = 3 } = {}) {
  refuse(url);
  const text = await output([...onLoad, "h2load", "-t1", `-c${connections}`, `-m${streams}`, "-D", String(seconds), url]);
  const done = Number(text.match(/(\d+) succeeded/)[1]), bad = text.match(/ (\d+) 4xx, (\d+) 5xx/);
  if (Number(bad[1]) || Number(bad[2])) throw new Error(`${url}: ${bad[0]}`);
  return { value: Number(text.match(/([\d.]+) req\/s/)[1]), done };
}
