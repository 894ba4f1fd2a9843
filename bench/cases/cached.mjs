// A cached tile against nginx serving the same bytes: HTTP/1.1, and HTTP/2 over TLS. Ours checks the token, the key and
// what the tile was made of at each request; the ETag is on both sides.
import { moongate, nginx, get } from "../lib/servers.mjs";
import { wrk, h2load } from "../lib/load.mjs";
import { inTurn } from "../lib/measure.mjs";
import { tilesOf } from "../lib/tiles.mjs";

const olinda = [-34.916, -8.041, -34.826, -7.95];

/** Tiles of real UDFs whose bodies are nearest to the sizes asked for. */
async function bodies(ours, sizes) {
  const found = [];
  for (const name of ["Landsat_NDVI", "Olinda_Hillshade", "Bench_Elevation"]) {
    for (const tile of tilesOf(olinda, 7, 14, 9)) {
      const path = `/${ours.token(name)}/run/tiles/${tile.join("/")}.png`;
      found.push({ path, name, tile, body: (await get(ours.url + path)).body });
    }
  }
  return sizes.map((size) => found.reduce((a, b) => Math.abs(a.body.length - size) <= Math.abs(b.body.length - size) ? a : b));
}

async function compare({ rounds, seconds }, { what, target, load, base }) {
  const ours = await moongate(), rows = [];
  const picked = await bodies(ours, [2500, 31000]);
  const peer = await nginx({ files: Object.fromEntries(picked.map(({ body }, i) => [`${i}.png`, body])) });
  for (const [i, { path, name, tile, body }] of picked.entries()) {
    const row = { group: what, work: `${(body.length / 1000).toFixed(1)} kB (${name} ${tile.join("/")})`, unit: "requests/s", target };
    rows.push(row);
    const sides = [{ label: "Moongate", run: () => load(base(ours) + path, { seconds }), roots: ours.roots }];
    if (peer) {
      const same = (await get(`${peer.url}/${i}.png`)).body.equals(body);
      if (!same) throw new Error(`nginx serves other bytes than ours for ${path}`);
      row.content = "the same bytes";
      sides.push({ label: "nginx, static file", run: () => load(`${base(peer)}/${i}.png`, { seconds }), roots: peer.roots });
    } else {
      row.missing = ["nginx"];
    }
    const [hits, requests] = [await ours.metric("cache_hits_total"), await ours.metric("requests_total")];
    Object.assign(row, await inTurn(sides, { rounds }));
    const rate = (await ours.metric("cache_hits_total") - hits) / (await ours.metric("requests_total") - requests);
    row.note = `hit ratio ${(100 * rate).toFixed(2)} %`;
  }
  await ours.stop();
  await peer?.stop();
  return rows;
}

export const cached = (how) => compare(how, { what: "Cached tile, HTTP/1.1", target: 1.0, base: (server) => server.url,
  load: (url, { seconds }) => wrk(url, { seconds, connections: 32 }) });

export const http2 = (how) => compare(how, { what: "Cached tile, HTTP/2 over TLS", target: 1.5, base: (server) => server.tlsUrl,
  load: (url, { seconds }) => h2load(url, { seconds, connections: 8, streams: 8 }) });
