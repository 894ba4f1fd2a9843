// Readers of npm, as the tests have them: pixels of a PNG, features of a vector tile.
import { createRequire } from "node:module";
import { join } from "node:path";
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";

const home = join(process.env.MOONGATE_BUILD, "tests-npm", "package.json");
if (!existsSync(home)) throw new Error("the readers of the tests are not here yet: ./moongate test layers fetches them");
const load = createRequire(home);
const { PNG } = load("pngjs");

/** Up to the end of its last chunk: some servers send a line break behind it. */
export const pixels = (png) => PNG.sync.read(png.subarray(0, png.lastIndexOf("IEND") + 8));

/** Mean difference of two PNG, levels of 0 to 255 over the colours of pixels that both show; and the part that only one shows. */
export function difference(a, b) {
  const [p, q] = [pixels(a), pixels(b)];
  if (p.width !== q.width || p.height !== q.height) throw new Error("the pictures differ in size");
  let sum = 0, n = 0, only = 0;
  for (let i = 0; i < p.data.length; i += 4) {
    const [seen, alsoSeen] = [p.data[i + 3] > 0, q.data[i + 3] > 0];
    if (seen !== alsoSeen) only++;
    if (!seen || !alsoSeen) continue;
    for (let c = 0; c < 3; c++) sum += Math.abs(p.data[i + c] - q.data[i + c]);
    n += 3;
  }
  return { levels: n ? sum / n : 0, only: only / (p.width * p.height), shown: n / 3 };
}

const readerOf = (name) => import(pathToFileURL(load.resolve(name)).href);
const [{ VectorTile }, pbf] = await Promise.all([readerOf("@mapbox/vector-tile"), readerOf("pbf")]);

/** Features in all layers of a vector tile. */
export function features(bytes) {
  if (!bytes.length) return 0;
  const tile = new VectorTile(new (pbf.default ?? pbf.PbfReader)(bytes));
  return Object.values(tile.layers).reduce((sum, layer) => sum + layer.length, 0);
}
