// The examples that ask other services: here a local server that answers in the shape of their published schemas (GTFS
// Realtime as JSON, Valhalla's isochrones), and counts.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import { request, serve } from "../lib/server.mjs";

let server, service, base;
const asked = { feed: 0, isochrone: [] };
const vehicle = (id, routeId, longitude, latitude) => ({ id, vehicle: { trip: { tripId: `t${id}`, routeId, scheduleRelationship: "SCHEDULED" },
  position: { latitude, longitude, bearing: 90 }, timestamp: "1700000000", vehicle: { id } } });
const feed = { header: { gtfsRealtimeVersion: "2.0", incrementality: "FULL_DATASET", timestamp: "1700000000" },
  entity: [vehicle("a", "7", -34.88, -8.05), vehicle("b", "7", -34.9, -8), { id: "alert", alert: {} }, vehicle("c", "12", -34.87, -7.99)] };

before(async () => {
  service = http.createServer((call, answer) => {
    let body = "";
    call.on("data", (part) => { body += part; });
    call.on("end", () => {
      answer.setHeader("content-type", "application/json");
      if (call.url === "/feed") {
        asked.feed++;
        return answer.end(JSON.stringify(feed));
      }
      if (call.url !== "/isochrone") return answer.writeHead(404).end("{}");
      const { locations: [{ lat, lon }], contours, costing, polygons } = JSON.parse(body);
      asked.isochrone.push(contours.map(({ time }) => time));
      if (contours.length > 4 || !polygons) return answer.writeHead(400).end('{"error_code":152,"error":"Exceeded max contours"}');
      const ring = (r) => [[lon - r, lat - r], [lon + r, lat - r], [lon + r, lat + r], [lon - r, lat + r], [lon - r, lat - r]];
      answer.end(JSON.stringify({ type: "FeatureCollection", features: contours.map(({ time }) => ({ type: "Feature",
        properties: { contour: time, metric: "time", costing, color: "#bf4040" }, geometry: { type: "Polygon", coordinates: [ring(time / 100)] } })) }));
    });
  });
  await new Promise((resolve) => service.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${service.address().port}`;
  server = await serve(["--allow-egress", "127.0.0.0/8"]);
  await server.ready();
});
after(async () => {
  await server.stop();
  service.close();
});

const get = (rest) => request(server, { path: rest });

test("Vehicles_Now: the feed's vehicles as points; ten who look make one request", async () => {
  const url = encodeURIComponent(`${base}/feed`);
  const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => get(`/UDF_Vehicles_Now.geojson?url=${url}&_cache_id=${i}`)));
  for (const answer of answers) {
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.json.features.map(({ properties: { id, route }, geometry }) => [id, route, ...geometry.coordinates]),
      [["a", "7", -34.88, -8.05], ["b", "7", -34.9, -8], ["c", "12", -34.87, -7.99]]);
  }
  const one = await get(`/UDF_Vehicles_Now.csv?url=${url}&route=12`);
  assert.match(one.text, /^id,route,bearing,geometry\r?\nc,12,90,POINT/);
  assert.equal(asked.feed, 1);
});

test("Isochrones: groups of four contours, the widest first", async () => {
  const { status, text, json } = await get(`/UDF_Isochrones.geojson?url=${encodeURIComponent(base)}&minutes=${encodeURIComponent("[5,10,15,20,30,45]")}`);
  assert.equal(status, 200, text);
  assert.deepEqual(json.features.map((f) => f.properties.contour), [45, 30, 20, 15, 10, 5]);
  assert.deepEqual(asked.isochrone.sort((a, b) => a[0] - b[0]), [[5, 10, 15, 20], [30, 45]]);
  assert.equal(json.features[0].geometry.coordinates[0].length, 5);
});

test("what fails has a name: a service that is not there, one that refuses", async () => {
  const gone = await get(`/UDF_Isochrones.geojson?url=${encodeURIComponent(`${base}/nowhere`)}`);
  assert.ok(gone.status >= 500 && gone.json.error.code === "fetch", gone.text);
  const closed = await get(`/UDF_Vehicles_Now.geojson?url=${encodeURIComponent("http://10.1.2.3/feed")}`);
  assert.ok(closed.status >= 400 && closed.json.error.code === "egress", closed.text);
});
