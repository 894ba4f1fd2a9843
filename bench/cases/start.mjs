// What a start, an idle server, a warm worker and a fresh isolated call cost.
import { readFileSync, rmSync } from "node:fs";
import { moongate, get, folder } from "../lib/servers.mjs";
import { listed } from "../lib/load.mjs";
import { processes, summary } from "../lib/measure.mjs";
import { tilesOf } from "../lib/tiles.mjs";

const ndvi = (server, query = "") => `${server.url}/${server.token("Landsat_NDVI")}/run/tiles/12/1651/2139.png${query}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A figure of /proc/PID/smaps_rollup in MB; several are added. */
function memory(pid, ...names) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return names.reduce((sum, name) => sum + Number(text.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))[1]), 0) / 1024;
}

async function firstTile(data) {
  const from = performance.now();
  const server = await moongate({ data });
  const listening = performance.now() - from;
  await get(ndvi(server, "?cache_max_age=0"));
  const tile = performance.now() - from;
  await server.stop();
  return { listening, tile };
}

const cost = (group, work, unit, target, values, note) =>
  ({ group, work, unit, most: target, note, better: "lower", ours: { label: "Moongate", ...summary(values) }, peers: [] });

export async function start({ rounds }) {
  const rows = [], first = [], again = [], listening = [];
  const kept = folder();
  await firstTile(kept);
  for (let i = 0; i < rounds; i++) {
    const fresh = folder();
    first.push((await firstTile(fresh)).tile);
    rmSync(fresh, { recursive: true, force: true });
    const times = await firstTile(kept);
    again.push(times.tile);
    listening.push(times.listening);
  }
  const what = "Start and memory";
  rows.push(cost(what, "start to first tile, empty data directory", "ms", null, first, "makes keys, account and both stores"));
  rows.push(cost(what, "start to first tile, as before", "ms", 150, again));
  rows.push(cost(what, "start to listening, as before", "ms", null, listening));

  const idle = [], worker = [], lua = [], whole = [], first_calls = [], first_vector = [];
  for (let i = 0; i < rounds; i++) {
    const server = await moongate();
    await get(ndvi(server));
    await sleep(1000);
    idle.push(processes(server.child.pid).reduce((sum, { pid }) => sum + memory(pid, "Pss"), 0));
    for (const tile of tilesOf([-34.916, -8.041, -34.826, -7.95], 8, 13, 8)) {
      await get(`${server.url}/${server.token("Landsat_NDVI")}/run/tiles/${tile.join("/")}.png`);
      await get(`${server.url}/${server.token("Olinda_Hillshade")}/run/tiles/${tile.join("/")}.png`);
    }
    const warm = processes(server.child.pid).filter(({ name }) => name === "mg-worker");
    worker.push(...warm.map(({ pid }) => memory(pid, "Private_Clean", "Private_Dirty")));
    const calls = [];
    for (let n = 0; n < 300; n++) {
      const { headers } = await get(`${server.url}/${server.token("Hello")}/run/file?cache_max_age=0&name=${n}`);
      const timing = headers.get("server-timing");
      calls.push(Number(timing.match(/queue;dur=([\d.]+)/)[1]) + Number(timing.match(/lua;dur=([\d.]+)/)[1]));
    }
    first_calls.push(calls[0]);
    lua.push(summary(calls.slice(20)).median);
    const alone = listed(Array(50).fill(`${server.url}/${server.token("Hello")}/run/file?cache_max_age=0&name=you`),
      { connections: 1, seconds: 1 });
    whole.push(1000 / (await alone()).value);
    const places = await get(`${server.url}/${server.token("World_Places")}/run/tiles/12/2121/1421.mvt`);
    first_vector.push(Number(places.headers.get("server-timing").match(/lua;dur=([\d.]+)/)[1]));
    await server.stop();
  }
  rows.push(cost(what, "idle memory, all processes, after a first tile", "MB", 120, idle, "sum of PSS"));
  rows.push(cost(what, "private memory of a warm worker", "MB", 5, worker, "after some 60 raster tiles"));
  rows.push(cost(what, "a fresh isolated call in the worker: library, load, call", "ms", null, lua,
    "of Server-Timing; its Lua state was made after the call before it"));
  rows.push(cost(what, "the first call of a UDF in a worker", "ms", null, first_calls, "of Server-Timing"));
  rows.push(cost(what, "the first vector tile in a worker: reads the whole table", "ms", null, first_vector, "171,075 places"));
  rows.push(cost(what, "a fresh isolated call, end to end over HTTP, one after the other", "ms", 1.5, whole, "all processes on one core; makes the state for the next call, too"));
  return rows;
}
