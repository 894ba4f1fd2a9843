// The encoder alone: a 256x256 coloured tile to PNG, ours and libpng at its default level, in one process (png.c).
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { moongate, get, folder, build, root } from "../lib/servers.mjs";
import { output, onServer } from "../lib/load.mjs";
import { summary } from "../lib/measure.mjs";

const tiles = [["Landsat_NDVI", "12/1651/2139"], ["Landsat_NDVI", "13/3302/4278"], ["Bench_Elevation", "12/1651/2139"]];

export async function png({ rounds }) {
  await output(["cmake", "-S", root, "-B", build, "-DMG_BENCH=ON"]);
  await output(["ninja", "-C", build, "bench_png"]);
  const ours = await moongate(), dir = folder(), rows = [];
  for (const [name, tile] of tiles) {
    const file = join(dir, "tile.png");
    writeFileSync(file, (await get(`${ours.url}/${ours.token(name)}/run/tiles/${tile}.png`)).body);
    const lines = (await output([...onServer, join(build, "bench_png"), file, String(rounds)])).trim().split("\n").map(JSON.parse);
    const of = (encoder) => lines.filter((line) => line.encoder === encoder);
    const side = (label, encoder) => ({ label: `${label} (${of(encoder)[0].bytes.toLocaleString("en")} bytes)`,
      ...summary(of(encoder).map(({ us }) => us)) });
    const mine = side("Moongate", "ours");
    const peers = [side("libpng level 6, palette", "libpng"), side("libpng level 6, RGBA", "libpng-rgba")];
    for (const peer of peers) peer.ratio = summary(mine.values.map((value, i) => peer.values[i] / value));
    const [bytes, theirs] = ["ours", "libpng"].map((encoder) => of(encoder)[0].bytes);
    rows.push({ group: "PNG of a 256x256 coloured tile", work: `${name} ${tile}`, unit: "us", better: "lower", most: 100, ours: mine, peers,
      content: "the same pixels", note: `${(100 * bytes / theirs - 100).toFixed(0)} % against libpng's size (limit +20 %)` });
  }
  await ours.stop();
  return rows;
}
