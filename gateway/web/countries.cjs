// countries.cjs IN OUT: a TopoJSON of world-atlas for flat maps. world-atlas is made for the sphere: rings run
// over the antimeridian and around the pole. Here such rings are unrolled and cut at 180 degrees; arcs are whole rings.
const fs = require("fs");
const [, , from, to] = process.argv;
const world = JSON.parse(fs.readFileSync(from));
const { scale: [kx, ky], translate: [tx, ty] } = world.transform;

const arcs = world.arcs.map((arc) => {
  let x = 0, y = 0;
  return arc.map(([dx, dy]) => [(x += dx) * kx + tx, (y += dy) * ky + ty]);
});

/** The points of a ring of arcs; ~i is arc i backwards; neighbours share a point. */
function ringOf(indexes) {
  const ring = [];
  for (const i of indexes) ring.push(...(i < 0 ? [...arcs[~i]].reverse() : arcs[i]).slice(ring.length ? 1 : 0));
  return ring;
}

/** The part of a ring with `sign * x <= sign * limit` (Sutherland and Hodgman, one edge). */
function half(ring, limit, sign) {
  const out = [];
  ring.forEach((p, i) => {
    const q = ring[(i + 1) % ring.length], inside = sign * p[0] <= sign * limit, next = sign * q[0] <= sign * limit;
    if (inside) out.push(p);
    if (inside !== next) out.push([limit, p[1] + (q[1] - p[1]) * (limit - p[0]) / (q[0] - p[0])]);
  });
  return out;
}

/** One ring, or the rings on both sides of the antimeridian. */
function cut(ring) {
  let turn = 0;
  const open = ring.slice(0, -1), flat = ring.map(([x, y], i) => {
    if (i && Math.abs(x - ring[i - 1][0]) > 180) turn += x < 0 ? 360 : -360;
    return [x + turn, y];
  });
  if (flat.every(([x], i) => x === ring[i][0])) return [open];
  if (turn) { // around a pole: along its edge back to the start
    const pole = flat[0][1] < 0 ? -90 : 90;
    flat.push([flat.at(-1)[0], pole], [flat[0][0], pole]);
  } else flat.pop();
  return [-360, 0, 360].map((shift) => half(half(flat.map(([x, y]) => [x + shift, y]), 180, 1), -180, -1)).filter((r) => r.length > 2);
}

const made = [];
const keep = (ring) => {
  const points = [...ring, ring[0]].map(([x, y]) => [Math.round((x - tx) / kx), Math.max(0, Math.round((y - ty) / ky))])
    .filter(([x, y], i, all) => !i || x !== all[i - 1][0] || y !== all[i - 1][1]);
  return [made.push(points.map(([x, y], i) => i ? [x - points[i - 1][0], y - points[i - 1][1]] : [x, y])) - 1];
};
const polygons = (list) => list.flatMap(([outer, ...holes]) => {
  const parts = cut(ringOf(outer));
  return parts.map((part) => [keep(part), ...(parts.length === 1 ? holes.map((hole) => keep(cut(ringOf(hole))[0])) : [])]);
});
for (const { geometries } of Object.values(world.objects))
  for (const shape of geometries)
    if (shape.arcs) {
      shape.arcs = polygons(shape.type === "Polygon" ? [shape.arcs] : shape.arcs);
      shape.type = "MultiPolygon";
    }
fs.writeFileSync(to, JSON.stringify({ ...world, cut: "antimeridian", arcs: made }));
