// The map pages: the first page (all public UDFs) and /{token}/map (one UDF). Everything comes from this server.
import * as maplibregl from "/static/maplibre-gl.mjs";

const config = JSON.parse(document.getElementById("config").textContent);
const shown = ["World_Countries", "Olinda_Hillshade", "Landsat_NDVI", "World_Places"]; // bottom to top
const opacity = { Landsat_NDVI: 0.65 };

const udfs = config.udfs
  ? config.udfs.map((u) => ({ ...u, token: `UDF_${u.name}` }))
      .sort((a, b) => shown.indexOf(a.name) - shown.indexOf(b.name))
  : [{ name: config.name, token: config.token, kind: config.kind, description: config.description, view: config.view,
       tilejson: await fetch(`/${config.token}/tilejson.json${location.search}`).then((a) => a.ok ? a.json() : config.tilejson) }];

const tiles = (u, extension) => u.tilejson?.tiles[0] ?? `${location.origin}/${u.token}/run/tiles/{z}/{x}/{y}.${extension}`;

/** The map's layers of one UDF: a raster, or fill, line and circle of each of a vector tile's layers. */
function layersOf(u) {
  if (u.kind === "raster")
    return [{ id: u.name, type: "raster", source: u.name, paint: { "raster-opacity": opacity[u.name] ?? 1, "raster-fade-duration": 0 } }];
  return (u.tilejson?.vector_layers ?? [{ id: "udf" }]).flatMap(({ id }) => partsOf(u, id));
}

function partsOf(u, layer) {
  const part = (suffix, type, geometry, paint) =>
    ({ id: `${u.name}-${layer}-${suffix}`, type, source: u.name, "source-layer": layer, filter: ["==", ["geometry-type"], geometry], paint });
  return [
    part("fill", "fill", "Polygon", { "fill-color": "#dfe7df", "fill-outline-color": "#9aa8a0" }),
    part("line", "line", "LineString", { "line-color": "#2b6cb0", "line-width": 1.2 }),
    part("circle", "circle", "Point", {
      "circle-color": "#c2410c", "circle-opacity": 0.75, "circle-stroke-color": "#fff", "circle-stroke-width": ["interpolate", ["linear"], ["zoom"], 6, 0, 10, 1],
      "circle-radius": ["interpolate", ["linear"], ["zoom"], 0, 0.8, 6, 1.5, 12, 4],
    }),
  ];
}

/** The zooms and bounds that the tiles have: the map stretches beyond them, and asks for nothing outside. */
function rangeOf({ tilejson }, maxzoom) {
  return tilejson ? { minzoom: tilejson.minzoom, maxzoom: Math.min(tilejson.maxzoom, maxzoom), bounds: tilejson.bounds, scheme: tilejson.scheme }
    : { maxzoom };
}
const sourceOf = (u) => u.kind === "raster"
  ? { type: "raster", tiles: [tiles(u, "png")], tileSize: 256, ...rangeOf(u, 22) }
  : { type: "vector", tiles: [tiles(u, "mvt")], ...rangeOf(u, 16) };

/** The first page would be too full with every example at once. */
const isOn = (u) => !config.udfs || u.source !== "example" || shown.includes(u.name);
const visibility = (on) => on ? "visible" : "none";

const mapped = udfs.filter((u) => (u.kind === "raster" || u.kind === "vector") && !u.broken);
const style = { version: 8, sources: {}, layers: [{ id: "sea", type: "background", paint: { "background-color": "#cfdde6" } }] };
for (const u of mapped) {
  style.sources[u.name] = sourceOf(u);
  style.layers.push(...layersOf(u).map((layer) => ({ ...layer, layout: { visibility: visibility(isOn(u)) } })));
}

const start = (udfs.find((u) => u.name === "Landsat_NDVI") ?? udfs.find((u) => u.view))?.view
  ?? { lng: 0, lat: 20, zoom: 1.5 };
const map = new maplibregl.Map({
  container: "map", style, center: [start.lng, start.lat], zoom: start.zoom, attributionControl: false, hash: true,
});
map.addControl(new maplibregl.NavigationControl());
map.addControl(new maplibregl.ScaleControl());

map.on("error", (event) => {
  const box = document.getElementById("errors");
  box.hidden = false;
  box.textContent = event.error?.message ?? String(event.error);
});
map.on("idle", () => { document.body.dataset.idle = "true"; });
map.on("movestart", () => { document.body.dataset.idle = "false"; });

map.on("click", (event) => {
  const feature = map.queryRenderedFeatures(event.point)[0];
  if (!feature) return;
  const table = document.createElement("table");
  for (const [name, value] of Object.entries(feature.properties)) {
    const row = table.insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = value;
  }
  new maplibregl.Popup().setLngLat(event.lngLat).setDOMContent(table).addTo(map);
});

/** One row of the list: a switch for its layers, and links to its other formats. */
function rowOf(u) {
  const row = document.createElement("li");
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = mapped.includes(u) && isOn(u);
  box.disabled = !mapped.includes(u);
  box.addEventListener("change", () => {
    for (const layer of layersOf(u)) map.setLayoutProperty(layer.id, "visibility", visibility(box.checked));
  });
  label.append(box, u.name);
  row.append(label);
  if (u.broken) row.className = "broken";
  if (u.description) row.append(Object.assign(document.createElement("p"), { textContent: u.description }));
  const links = document.createElement("nav");
  const link = (text, href) => links.append(Object.assign(document.createElement("a"), { textContent: text, href }));
  if (u.view) {
    link("zoom there", "#");
    links.lastChild.addEventListener("click", (event) => {
      event.preventDefault();
      map.jumpTo({ center: [u.view.lng, u.view.lat], zoom: u.view.zoom });
    });
  }
  link("TileJSON", `/${u.token}/tilejson.json`);
  link("open", u.kind === "raster" ? `/${u.token}.png` : u.kind === "vector" ? `/${u.token}.html` : `/${u.token}/run/file`);
  row.append(links);
  return row;
}

function snippet(title, text) {
  const section = document.getElementById("snippets");
  section.append(Object.assign(document.createElement("h2"), { textContent: title }),
                 Object.assign(document.createElement("pre"), { textContent: text }));
}

document.getElementById("layers").append(...[...udfs].reverse().map(rowOf));
if (config.token) {
  const [u] = udfs;
  document.title = `${u.name} – Moongate`;
  snippet("Tiles", tiles(u, u.kind === "vector" ? "mvt" : "png"));
  snippet("Leaflet", u.kind === "vector"
    ? `L.vectorGrid.protobuf("${tiles(u, "mvt")}").addTo(map)`
    : `L.tileLayer("${tiles(u, "png")}").addTo(map)`);
  const here = `${location.origin}/${u.token}`, { sources, layers } = style;
  snippet("TileJSON", `${here}/tilejson.json${location.search}`);
  if (mapped.length)
    snippet("MapLibre style", JSON.stringify({ version: 8, sources, layers: layers.slice(1) }, null, 2));
  snippet("QGIS, ArcGIS (WMTS)", `${here}/wmts${location.search}`);
  snippet("OGC API Tiles", `${here}/ogc${location.search}`);
} else {
  document.getElementById("description").textContent = "UDFs of this server. A row's switch shows it on the map.";
}
