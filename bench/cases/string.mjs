// A UDF that returns a short string, cache off, in a sandboxed worker, against nginx with Lua in its own process, which is
// not isolated, and against nginx's static file, which runs nothing.
import { moongate, nginx, nginxLua, get } from "../lib/servers.mjs";
import { listed } from "../lib/load.mjs";
import { inTurn } from "../lib/measure.mjs";

export async function string({ rounds, seconds }) {
  const ours = await moongate(), missing = [];
  const text = "Hello from you!";
  const still = await nginx({ files: { "hello.html": text } });
  const lua = await nginxLua('ngx.header["ETag"] = nil; ngx.print("Hello from " .. ngx.var.arg_name .. "!")');
  const load = (url) => listed(Array(50).fill(url), { seconds, connections: 16 });
  const url = `${ours.url}/${ours.token("Hello")}/run/file?name=you&cache_max_age=0`;
  const sides = [{ label: "Moongate", run: load(url), roots: ours.roots }];
  if (lua) sides.push({ label: "nginx + Lua in process", run: load(`${lua.url}/hello?name=you`), roots: lua.roots });
  else missing.push("nginx + Lua in process (bench/run --peers)");
  if (still) sides.push({ label: "nginx, static file (upper bound)", run: load(`${still.url}/hello.html`), roots: still.roots });
  else missing.push("nginx");
  for (const [address] of [[url], ...(lua ? [[`${lua.url}/hello?name=you`]] : []), ...(still ? [[`${still.url}/hello.html`]] : [])]) {
    if ((await get(address)).text !== text) throw new Error(`${address} does not say "${text}"`);
  }
  const [runs, requests] = [await ours.metric("runs_total"), await ours.metric("requests_total")];
  const result = await inTurn(sides, { rounds });
  const share = (await ours.metric("runs_total") - runs) / (await ours.metric("requests_total") - requests);
  for (const server of [ours, lua, still]) await server?.stop();
  return [{ group: "A UDF that returns a short string, cache off", work: "15 bytes, one worker", unit: "requests/s", target: 0.5,
    missing, content: "the same bytes", note: `${share.toFixed(3)} runs a request`, ...result }];
}
