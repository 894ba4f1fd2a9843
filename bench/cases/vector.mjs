// Vector tiles of 171,075 places computed at each request, one worker, against PostGIS (ST_AsMVT, prepared, indexed and
// clustered geometry), by zoom bands: low zooms measure how much is drawn over each other.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { moongate, postgis, get, build, folder } from "../lib/servers.mjs";
import { listed, output, onLoad } from "../lib/load.mjs";
import { inTurn } from "../lib/measure.mjs";
import { tilesUnder } from "../lib/tiles.mjs";
import { features } from "../lib/readers.mjs";

const bands = [[0, 3, 3], [4, 7, 5], [8, 10, 8], [11, 14, 8]];

export async function vector({ rounds, seconds }) {
  const file = join(build, "share/data/places.fgb");
  const ours = await moongate(), peer = await postgis(file), rows = [], dir = folder();
  const csv = (await get(`${ours.url}/${ours.token("World_Places")}.geojson?bounds=-180,-85,180,85`)).text;
  const points = JSON.parse(csv).features.map((feature) => feature.geometry.coordinates);
  for (const [from, to, most] of bands) {
    const tiles = tilesUnder(points, from, to, most);
    const path = (tile) => `/${ours.token("World_Places")}/run/tiles/${tile.join("/")}.mvt?cache_max_age=0`;
    const row = { group: "Vector tile of places, cache off, one worker", work: `z${from}-${to} (${tiles.length} tiles)`, unit: "tiles/s",
      target: 5 };
    let [our, their, bytes, thinned, unequal] = [0, 0, 0, 0, 0];
    for (const tile of tiles) {
      const answer = await get(ours.url + path(tile)), count = features(answer.body);
      our += count;
      bytes += answer.body.length;
      thinned += answer.headers.has("x-moongate-thinned");
      if (!peer) continue;
      const theirs = features(await peer.tile(...tile));
      their += theirs;
      unequal += theirs !== count;
    }
    row.content = `features: ours ${our.toLocaleString("en")}` + (peer ? `, PostGIS ${their.toLocaleString("en")}; equal in ` +
      `${tiles.length - unequal} of ${tiles.length} tiles` : "") + (thinned ? `; ${thinned} of ours thinned to 500 kB` : "");
    row.note = `${(bytes / tiles.length / 1000).toFixed(1)} kB a tile`;
    const sides = [{ label: "Moongate", roots: ours.roots,
      run: listed(tiles.map((tile) => ours.url + path(tile)), { seconds, connections: 2 }) }];
    if (peer) {
      const script = join(dir, `${from}.sql`);
      writeFileSync(script, tiles.map((tile) => `SELECT tile(${tile.join(", ")});\n`).join(""));
      sides.push({ label: "PostGIS ST_AsMVT", roots: peer.roots, run: async () => {
        const text = await output([...onLoad, "pgbench", ...peer.place, "-n", "-M", "prepared", "-c", "2", "-j", "1", "-T",
          String(seconds), "-f", script, "postgres"]);
        return { value: Number(text.match(/tps = ([\d.]+)/)[1]) * tiles.length,
          done: Number(text.match(/actually processed: (\d+)/)[1]) * tiles.length };
      } });
    } else {
      row.missing = ["PostGIS"];
    }
    rows.push(Object.assign(row, await inTurn(sides, { rounds })));
  }
  await ours.stop();
  await peer?.stop();
  return rows;
}
