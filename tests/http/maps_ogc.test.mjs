// OGC API - Tiles - Part 1 (OGC 20-057): each requirement of the declared classes is a test of its name, run against the
// server's collections (/ogc) and against one UDF as a dataset (/{token}/ogc), following links and never guessing URLs.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { join } from "node:path";
import { VectorTile } from "@mapbox/vector-tile";
import Pbf from "pbf";
import { build, request, serve } from "../lib/server.mjs";

let server, roots, points;
const REL = "http://www.opengis.net/def/rel/ogc/1.0/", CONF = "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/";
before(async () => {
  server = await serve([join(build, "share/data/L7_ETMs.tif")]);
  await server.ready();
  roots = { server: "/ogc", vectors: "/UDF_World_Countries/ogc", picture: `/${server.udfs.L7_ETMs}/ogc` };
  points = { vector: [2, 1, 2], map: [12, 2138, 1651] };
});
after(() => server.stop());

const get = (url, headers) => request(server, { path: url.startsWith("http") ? url.slice(server.url.length) : url, headers });
const ok = async (url) => {
  const a = await get(url);
  assert.equal(a.status, 200, url);
  assert.match(a.headers["content-type"], /^application\/json/, url);
  return a.json;
};
const link = (thing, rel) => {
  const found = thing.links.find((l) => l.rel === rel);
  assert.ok(found, `${rel} among ${thing.links.map((l) => l.rel)}`);
  return found.href;
};
/** Examples that need nothing but the files of set-up: others may wait for a network that is not there. */
const known = ["World_Countries", "World_Places", "Landsat_NDVI", "Olinda_Hillshade", "L7_ETMs"];
/** The tilesets list of each thing that has one: datasets, and collections. */
async function lists() {
  const found = [];
  for (const root of Object.values(roots)) {
    const page = await ok(root);
    for (const l of page.links) if (l.rel.startsWith(`${REL}tilesets-`)) found.push(l.href);
    for (const c of (await ok(link(page, "data"))).collections.filter(({ id }) => known.includes(id)))
      found.push(...c.links.filter((l) => l.rel.startsWith(`${REL}tilesets-`)).map((l) => l.href));
  }
  return found;
}
async function tilesets() {
  const found = [];
  for (const list of await lists())
    for (const item of (await ok(list)).tilesets) found.push(await ok(link(item, "self")));
  return found;
}
const item = (set, [z, row, col], n = 0) => set.links.filter((l) => l.rel === "item")[n].href
  .replace("{tileMatrix}", z).replace("{tileRow}", row).replace("{tileCol}", col);
/** A place within the limits of the tileset, at zoom 12 or its last. */
function inside(set) {
  const l = set.tileMatrixSetLimits[Math.min(set.dataType === "map" ? 12 : 2, set.tileMatrixSetLimits.length - 1)];
  return [l.tileMatrix, Math.floor((l.minTileRow + l.maxTileRow) / 2), Math.floor((l.minTileCol + l.maxTileCol) / 2)];
}
const named = (title, set) => set.find((s) => s.title === title);

for (const name of ["core", "tileset", "tilesets-list", "geodata-tilesets"])
  test(`/req/${name}/conformance-success`, async () => {
    for (const root of Object.values(roots))
      assert.ok((await ok(link(await ok(root), "conformance"))).conformsTo.includes(CONF + name), root);
  });
test("/req/dataset-tilesets/conformance-success", async () => {
  assert.ok((await ok(`${roots.vectors}/conformance`)).conformsTo.includes(`${CONF}dataset-tilesets`));
  assert.ok(!(await ok(`${roots.server}/conformance`)).conformsTo.includes(`${CONF}dataset-tilesets`), "the server as a whole has none and does not say so");
});

test("/req/core/tc-op", async () => {
  for (const set of await tilesets()) assert.equal((await get(item(set, inside(set)))).status, 200, set.title);
});
test("/req/core/tc-tilematrix-definition", async () => {
  const set = named("World_Countries", await tilesets());
  for (const z of ["x", "-1", "1.5", "25", "1e1", ""]) assert.equal((await get(item(set, [z, 0, 0]))).status, 404, z);
  assert.equal((await get(item(set, [0, 0, 0]))).status, 200);
});
for (const [k, name] of [[1, "tilerow"], [2, "tilecol"]])
  test(`/req/core/tc-${name}-definition`, async () => {
    const set = named("World_Countries", await tilesets());
    for (const v of ["x", "-1", "4", "99999999999999999999", "1 "]) {
      const place = [2, 1, 1];
      place[k] = encodeURIComponent(v);
      assert.equal((await get(item(set, place))).status, 404, v);
    }
    const a = await get(item(set, [2, 0, 3])), b = await get(item(set, [2, 3, 0]));
    assert.notEqual(a.headers.etag, b.headers.etag, "rows are rows");
  });
test("/req/core/tc-success", async () => {
  const sets = await tilesets(), countries = named("World_Countries", sets), scene = named("L7_ETMs", sets);
  const tile = await get(item(countries, points.vector)), known = await get("/UDF_World_Countries/run/tiles/2/2/1.mvt");
  assert.match(tile.headers["content-type"], /mapbox-vector-tile/);
  assert.deepEqual(tile.body, known.body, "row 1, column 2 is y 1, x 2");
  assert.ok(new VectorTile(new Pbf(tile.body)).layers[countries.layers[0].id].length > 10);
  for (const [i, type] of ["image/png", "image/webp", "image/jpeg"].entries()) {
    const picture = await get(item(scene, points.map, i));
    assert.deepEqual([picture.status, picture.headers["content-type"]], [200, type]);
  }
  assert.equal((await get(item(scene, points.map))).headers.etag, (await get(`/${server.udfs.L7_ETMs}/run/tiles/12/1651/2138.png`)).headers.etag);
});
test("/req/core/tc-error", async () => {
  const scene = named("L7_ETMs", await tilesets()), l = scene.tileMatrixSetLimits[12];
  assert.equal((await get(item(scene, [12, l.minTileRow - 1, l.minTileCol]))).status, 404, "outside the limits");
  assert.equal((await get(item(scene, [12, l.minTileRow, l.maxTileCol + 1]))).status, 404, "outside the limits");
  assert.equal((await get(item(scene, [scene.tileMatrixSetLimits.length, 0, 0]))).status, 404, "no such matrix");
  const places = named("World_Places", await tilesets());
  assert.ok([200, 204].includes((await get(item(places, [12, 2000, 10]))).status), "the open sea is empty, and no error");
  assert.equal((await get(item(scene, points.map).replace("f=png", "f=csv"))).status, 400);
  assert.equal((await get(item(scene, points.map).replace("f=png", "f=nothing"))).status, 400);
});

test("/req/tileset/tileset-description", async () => {
  for (const set of await tilesets()) {
    assert.ok(["map", "vector"].includes(set.dataType));
    assert.equal(set.crs, "http://www.opengis.net/def/crs/EPSG/0/3857");
    assert.match(set.tileMatrixSetURI, /WebMercatorQuad$/);
    assert.ok(set.layers.length > 0 && set.tileMatrixSetLimits.length > 0);
    assert.ok(set.boundingBox.lowerLeft[0] < set.boundingBox.upperRight[0]);
    for (const l of set.tileMatrixSetLimits)
      assert.ok(l.minTileRow <= l.maxTileRow && l.maxTileRow < 2 ** l.tileMatrix && l.minTileCol <= l.maxTileCol && l.maxTileCol < 2 ** l.tileMatrix);
  }
  const countries = named("World_Countries", await tilesets());
  assert.equal(countries.layers[0].propertiesSchema.properties.name.type, "string");
});
test("/req/tileset/tile-template", async () => {
  for (const set of await tilesets())
    for (const l of set.links.filter((x) => x.rel === "item")) {
      assert.equal(l.templated, true);
      for (const part of ["{tileMatrix}", "{tileRow}", "{tileCol}"]) assert.ok(l.href.includes(part), l.href);
      assert.equal((await get(item({ links: [l] }, inside(set)))).headers["content-type"], l.type);
    }
});
test("the tileset's link to its tile matrix set gives its definition (OGC 17-083r4)", async () => {
  for (const set of await tilesets()) {
    const scheme = await ok(link(set, `${REL}tiling-scheme`));
    assert.deepEqual([scheme.id, scheme.crs, scheme.uri], ["WebMercatorQuad", set.crs, set.tileMatrixSetURI]);
    for (const [z, m] of scheme.tileMatrices.entries()) {
      assert.deepEqual([m.id, m.matrixWidth, m.matrixHeight, m.tileWidth, m.tileHeight], [String(z), 2 ** z, 2 ** z, 256, 256]);
      assert.ok(Math.abs(m.scaleDenominator / (559082264.0287178 / 2 ** z) - 1) < 1e-12);
      assert.ok(Math.abs(m.cellSize * 0.00028 ** -1 - m.scaleDenominator) < 1e-6 * m.scaleDenominator);
    }
    assert.deepEqual(scheme.tileMatrices[0].pointOfOrigin.map((v) => v.toFixed(4)), ["-20037508.3428", "20037508.3428"]);
  }
  const page = await ok("/ogc");
  assert.equal((await ok(link((await ok(link(page, `${REL}tiling-schemes`))).tileMatrixSets[0], "self"))).id, "WebMercatorQuad");
  assert.equal((await get("/ogc/tileMatrixSets/Other")).status, 404);
});

test("/req/tilesets-list/tileset-path", async () => {
  for (const list of await lists())
    for (const set of (await ok(list)).tilesets)
      assert.equal(link(set, "self"), `${list}/WebMercatorQuad`);
});
test("/req/tilesets-list/tileset-links", async () => {
  const all = await lists();
  assert.ok(all.length > 5);
  for (const list of all)
    for (const set of (await ok(list)).tilesets) {
      const whole = await ok(link(set, "self"));
      for (const field of ["title", "dataType", "crs", "tileMatrixSetURI"]) assert.deepEqual(set[field], whole[field]);
    }
});
test("/req/geodata-tilesets/desc-links", async () => {
  const page = await ok(link(await ok("/ogc"), "data"));
  for (const name of ["World_Countries", "Landsat_NDVI"]) {
    const c = await ok(link(page.collections.find((x) => x.id === name), "self"));
    assert.ok((await ok(link(c, `${REL}tilesets-${c.dataType}`))).tilesets.length, name);
  }
  assert.ok(!page.collections.some((c) => c.id === "L7_ETMs" || c.id === "Hello"), "neither what has a token nor what makes no tiles");
});
test("/req/geodata-tilesets/operation", async () => {
  assert.equal((await get("/ogc/collections/World_Countries/tiles")).status, 200);
  assert.equal((await get("/ogc/collections/World_Countries/map/tiles")).status, 404);
  assert.equal((await get("/ogc/collections/Nobody/tiles")).status, 404);
  assert.equal((await get("/ogc/collections/L7_ETMs/map/tiles")).status, 404, "what is not public is not there");
  assert.equal((await get("/ogc/tiles")).status, 404);
});
test("/req/dataset-tilesets/landingpage", async () => {
  assert.ok(link(await ok(roots.vectors), `${REL}tilesets-vector`));
  assert.ok(link(await ok(roots.picture), `${REL}tilesets-map`));
});
test("/req/dataset-tilesets/operation", async () => {
  for (const [root, rel] of [[roots.vectors, "vector"], [roots.picture, "map"]]) {
    const list = await ok(link(await ok(root), `${REL}tilesets-${rel}`));
    assert.equal((await get(item(await ok(link(list.tilesets[0], "self")), points[rel]))).status, 200);
  }
});

test("the parameters of the UDF go along, and f is not one of them", async () => {
  const set = await ok(`${roots.picture}/map/tiles/WebMercatorQuad?bounds_unused=1&f=json`).catch(() => null);
  assert.ok(set, "the tileset itself runs nothing");
  const low = await ok("/UDF_Landsat_NDVI/ogc/map/tiles/WebMercatorQuad?low=0.3");
  const a = await get(item(low, points.map)), b = await get("/UDF_Landsat_NDVI/run/tiles/12/1651/2138.png?low=0.3");
  assert.equal(a.headers.etag, b.headers.etag);
  assert.equal((await get("/ogc?f=html")).status, 400);
});
test("a wrong token is 401, other methods 405, any origin may read", async () => {
  assert.equal((await get("/nobody/ogc")).status, 401);
  assert.equal((await request(server, { path: "/ogc", method: "POST", body: "{}", headers: { "content-type": "application/json" } })).status, 405);
  assert.equal((await get("/ogc")).headers["access-control-allow-origin"], "*");
});
