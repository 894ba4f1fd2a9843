// UDFs whose pictures are known to the last bit (through npy, read here), for the tests of the image formats.
import assert from "node:assert/strict";
import { writeUdf } from "./server.mjs";

/** Few colours (exact in a gif), many colours, a palette with transparency, floats, sixteen bits, an animation. */
export function writePictures(dir) {
  const head = `local moon = require "moon"
local function few(i) return ((moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 3, 2, 1 }, size = { 64, 48 } }) / 64):floor() * 64 + i):convert("uint8") end
local function ndvi()
  local b = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3, nir = 4 }, size = { 64, 48 } })
  return (b.nir - b.red) / (b.nir + b.red)
end
local function coloured(i) local v = ndvi() return v:where(v:gt(-0.3 + i / 50)):colour("viridis", -0.4, 0.6) end
`;
  const udf = (name, body, more = "") => writeUdf(dir, name, `${head}return moon.udf(function(i) ${body} end, { i = 0 ${more}})`);
  udf("Few", "return few(i)");
  udf("Many", 'return moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 3, 2, 1 }, size = { 64, 48 } }):convert("uint8")');
  udf("Coloured", "return coloured(i)");
  udf("Float", "return ndvi()");
  udf("Wide", 'return (ndvi() * 20000 + 25000):convert("uint16")');
  udf("One", 'return moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 1 }, size = { 1, 1 } })');
  udf("Six", 'return moon.read_raster("fd://L7_ETMs.tif")');
  udf("Big", 'return moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 1, 2, 3, 4 }, size = { 2048, 2048 } })');
  udf("Film", "local list = {} for k = 1, 4 do list[k] = few(10 * k) end return moon.frames(list, { delay_ms = { 100, 200, 50, 300 } })");
  udf("Clear_Film", "local list = {} for k = 1, 3 do list[k] = coloured(6 * k) end return moon.frames(list, { delay_ms = 120 })");
}

const arrays = { u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };

/** NumPy's format, by its own description: { shape, data }. */
export function readNpy(bytes) {
  assert.equal(bytes.subarray(0, 8).toString("latin1"), "\x93NUMPY\x01\x00");
  const length = bytes.readUInt16LE(8), from = 10 + length;
  assert.equal(from % 64, 0, "samples are aligned");
  const head = bytes.subarray(10, from).toString("latin1");
  const [, type, shape] = head.match(/^\{'descr': '[<|](..)', 'fortran_order': False, 'shape': \(([\d, ]+)\), \} *\n$/);
  const data = new arrays[type](bytes.buffer.slice(bytes.byteOffset + from, bytes.byteOffset + bytes.length));
  const dims = shape.split(",").map(Number);
  assert.equal(data.length, dims.reduce((a, b) => a * b));
  return { shape: dims, type, data };
}

/** Three bands one after the other as RGBA pixels. */
export function rgbaOf({ shape: [bands, height, width], data }) {
  assert.equal(bands, 3);
  const n = width * height, rgba = new Uint8Array(4 * n);
  for (let i = 0; i < n; i++) rgba.set([data[i], data[n + i], data[2 * n + i], 255], 4 * i);
  return { width, height, rgba };
}
