// Raster tiles computed at each request, one worker: NDVI, hillshade, and a coloured elevation model that MapServer and
// TiTiler make of the same file, with the same resampling, range and colours.
import { join } from "node:path";
import { moongate, mapserver, titiler, get, build } from "../lib/servers.mjs";
import { listed } from "../lib/load.mjs";
import { inTurn } from "../lib/measure.mjs";
import { tilesOf, mercator } from "../lib/tiles.mjs";
import { difference } from "../lib/readers.mjs";

const olinda = [-34.916, -8.041, -34.826, -7.95];
const bands = [[8, 10], [11, 14]];
const dem = join(build, "share/data/olinda_dem_utm25s.tif"), scene = join(build, "share/data/L7_ETMs.tif");

const mapfile = `MAP
  NAME "bench"  SIZE 256 256  EXTENT -20037508 -20037508 20037508 20037508  MAXSIZE 4096
  PROJECTION "init=epsg:3857" END
  OUTPUTFORMAT NAME "png" DRIVER AGG/PNG MIMETYPE "image/png" IMAGEMODE RGBA EXTENSION "png" TRANSPARENT ON END
  WEB METADATA "wms_title" "bench" "wms_enable_request" "*" "wms_srs" "EPSG:3857" END END
  LAYER
    NAME "dem" TYPE RASTER STATUS ON DATA "${dem}"
    METADATA "wms_title" "dem" END
    PROJECTION "init=epsg:32725" END
    PROCESSING "RESAMPLE=BILINEAR" PROCESSING "CLOSE_CONNECTION=DEFER" PROCESSING "BANDS=1" PROCESSING "SCALE_BUCKETS=256"
    PROCESSING "SCALE=-10,90"
    CLASS EXPRESSION ([pixel] > -1000) STYLE COLORRANGE "#000080" "#ffff00" DATARANGE -10 90 RANGEITEM "[pixel]" END END
  END
END
`;

/** 256 colours from blue to yellow, as Bench_Elevation has them. */
const ramp = JSON.stringify(Object.fromEntries(Array.from({ length: 256 }, (_, i) =>
  [i, [i, i, Math.round(128 - 128 * i / 255), 255]])));

const wms = (tile) => `/ms?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=dem&STYLES=&SRS=EPSG:3857&BBOX=${mercator(tile).join(",")}` +
  "&WIDTH=256&HEIGHT=256&FORMAT=image/png&TRANSPARENT=TRUE";
const cog = (file, query) => (tile) => `/cog/tiles/WebMercatorQuad/${tile.join("/")}.png?url=${encodeURIComponent(file)}&tilesize=256&${query}`;

const works = [
  { udf: "Bench_Elevation", name: "coloured elevation model", peers: { mapserver: wms,
    titiler: cog(dem, `resampling=bilinear&reproject=bilinear&rescale=-10,90&colormap=${encodeURIComponent(ramp)}`) }, compare: true },
  { udf: "Landsat_NDVI", name: "NDVI of two bands, coloured", peers: {
    titiler: cog(scene, `expression=${encodeURIComponent("(b4-b3)/(b4+b3)")}&rescale=-0.2,0.8&colormap_name=rdylgn`) }, compare: true },
  { udf: "Olinda_Hillshade", name: "hillshade, cubic", peers: {
    titiler: cog(dem, `resampling=cubic&reproject=cubic&algorithm=hillshade&buffer=3&algorithm_params=${encodeURIComponent(
      JSON.stringify({ azimuth: 315, angle_altitude: 45 }))}`) }, compare: false },
];
const labels = { mapserver: "MapServer FastCGI", titiler: "TiTiler" };

/** How far the peer's pictures are from ours over a tile list. */
async function content(ours, theirs, tiles) {
  const found = [];
  for (const tile of tiles) found.push(difference((await get(ours(tile))).body, (await get(theirs(tile))).body));
  const shown = found.reduce((sum, { shown: n }) => sum + n, 0) || 1;
  return { levels: found.reduce((sum, d) => sum + d.levels * d.shown, 0) / shown,
    only: found.reduce((sum, d) => sum + d.only, 0) / found.length };
}

export async function raster({ rounds, seconds }) {
  const ours = await moongate(), rows = [];
  const servers = { mapserver: await mapserver(mapfile), titiler: await titiler() };
  for (const { udf, name, peers, compare } of works) {
    for (const [from, to] of bands) {
      const tiles = tilesOf(olinda, from, to, 12);
      const path = (tile) => `/${ours.token(udf)}/run/tiles/${tile.join("/")}.png?cache_max_age=0`;
      const row = { group: "Raster tile, cache off, one worker", work: `${name}, z${from}-${to} (${tiles.length} tiles)`, unit: "tiles/s",
        target: 10, missing: [], content: [] };
      const sides = [{ label: "Moongate", roots: ours.roots,
        run: listed(tiles.map((tile) => ours.url + path(tile)), { seconds, connections: 4 }) }];
      for (const [peer, make] of Object.entries(peers)) {
        if (!servers[peer]) {
          row.missing.push(`${labels[peer]} (bench/run --peers)`);
          continue;
        }
        const base = servers[peer].url;
        if (compare) {
          const { levels, only } = await content((tile) => ours.url + path(tile), (tile) => base + make(tile), tiles.slice(-6));
          row.content.push(`${labels[peer]}: mean difference ${levels.toFixed(2)} of 255 levels, ${(100 * only).toFixed(2)} % of ` +
            "pixels shown by one only");
          if (levels > 8 || only > 0.05) row.content.push(`${labels[peer]} its pictures differ from ours here: compare with care`);
        } else {
          await get(base + make(tiles[0]));
          row.content.push(`${labels[peer]}: the same file and light, another method of shading`);
        }
        sides.push({ label: labels[peer], roots: servers[peer].roots,
          run: listed(tiles.map((tile) => base + make(tile)), { seconds, connections: 4 }) });
      }
      let bytes = 0;
      for (const tile of tiles) bytes += (await get(ours.url + path(tile))).body.length;
      const [runs, requests] = [await ours.metric("runs_total"), await ours.metric("requests_total")];
      Object.assign(row, await inTurn(sides, { rounds }));
      const share = (await ours.metric("runs_total") - runs) / (await ours.metric("requests_total") - requests);
      row.note = `${(bytes / tiles.length / 1000).toFixed(1)} kB a tile; ${share.toFixed(2)} runs a request`;
      row.content = row.content.join("; ");
      rows.push(row);
    }
  }
  for (const server of [ours, servers.mapserver, servers.titiler]) await server?.stop();
  return rows;
}
