// Tile lists: the same for ours and every peer.
const radians = Math.PI / 180;

export function tileAt(lng, lat, z) {
  const n = 2 ** z, clamp = (v) => Math.min(n - 1, Math.max(0, Math.floor(v)));
  return [z, clamp((lng + 180) / 360 * n), clamp((1 - Math.asinh(Math.tan(lat * radians)) / Math.PI) / 2 * n)];
}

/** The tiles of zooms `from` to `to` that touch the bounds, at most `most` of each zoom, spread evenly. */
export function tilesOf([west, south, east, north], from, to, most = 16) {
  const list = [];
  for (let z = from; z <= to; z++) {
    const [, x0, y0] = tileAt(west, north, z), [, x1, y1] = tileAt(east, south, z), all = [];
    for (let y = y0; y <= y1; y++) for (let x = x0; x <= x1; x++) all.push([z, x, y]);
    const step = Math.max(1, all.length / most);
    for (let i = 0; i < all.length && Math.floor(i * step) < all.length; i++) if (i < most) list.push(all[Math.floor(i * step)]);
  }
  return list;
}

/** Where the tile's pixels lie: EPSG:3857 bounds. */
export function mercator([z, x, y]) {
  const half = 20037508.342789244, side = 2 * half / 2 ** z;
  return [x * side - half, half - (y + 1) * side, (x + 1) * side - half, half - y * side];
}

/** Tiles under every k-th of `points` ([lng, lat]), without repeats: dense places come up as often as maps show them. */
export function tilesUnder(points, from, to, most) {
  const list = [];
  for (let z = from; z <= to; z++) {
    const seen = new Set();
    const step = Math.max(1, Math.floor(points.length / (most * 4)));
    for (let i = 0; i < points.length && seen.size < most; i += step) {
      const tile = tileAt(points[i][0], points[i][1], z);
      if (!seen.has(tile.join("/"))) list.push(tile);
      seen.add(tile.join("/"));
    }
  }
  return list;
}
