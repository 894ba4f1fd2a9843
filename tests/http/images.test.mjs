// Image and grid formats read by pngjs, geotiff, GDAL and NumPy's own description of npy; the rules of a cloud-optimised
// GeoTIFF by GDAL's validator. (Pixels as a browser shows them: browser/images.test.mjs.)
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { fromArrayBuffer } from "geotiff";
import { folder, request, serve } from "../lib/server.mjs";
import { readNpy, rgbaOf, writePictures } from "../lib/pictures.mjs";

const work = folder();
let server, made = 0;
before(async () => {
  const dir = folder();
  writePictures(dir);
  server = await serve([dir]);
  await server.ready();
});
after(() => server.stop());

const ask = (udf, query) => request(server, { path: `/${server.udfs[udf]}/run/file?${query}` });
async function get(udf, query) {
  const answer = await ask(udf, query);
  assert.equal(answer.status, 200, `${udf}?${query}: ${answer.text.slice(0, 300)}`);
  return answer.body;
}
async function refused(udf, query, status, part) {
  const answer = await ask(udf, query);
  assert.equal(answer.status, status, answer.text.slice(0, 300));
  assert.ok(JSON.parse(answer.text).detail.includes(part), answer.text);
}
function file(bytes, extension) {
  const path = join(work, `${made++}.${extension}`);
  writeFileSync(path, bytes);
  return path;
}
const run = (program, ...args) => execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const chunks = (png) => {
  const list = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at))
    list.push({ name: png.toString("latin1", at + 4, at + 8), data: png.subarray(at + 8, at + 8 + png.readUInt32BE(at)) });
  return list;
};

test("png", async (t) => {
  await t.test("RGB of few colours is a palette, of many it is not; both are exact", async () => {
    for (const [udf, type] of [["Few", 3], ["Many", 2]]) {
      const png = await get(udf, "format=png");
      assert.equal(png[25], type);
      assert.deepEqual(Buffer.from(PNG.sync.read(png).data), Buffer.from(rgbaOf(readNpy(await get(udf, "format=npy"))).rgba));
    }
  });
  await t.test("sixteen bits", async () => {
    const { data, shape } = readNpy(await get("Wide", "format=npy"));
    const png = PNG.sync.read(await get("Wide", "format=png"), { skipRescale: true });
    assert.deepEqual([png.height, png.width], shape);
    let shown = 0;
    for (let i = 0; i < data.length; i++)
      if (png.data[4 * i + 3]) {
        assert.equal(png.data[4 * i], data[i]);
        shown++;
      }
    assert.ok(shown > data.length / 2);
  });
  await t.test("floats by png.min and png.max, NaN transparent", async () => {
    const { data } = readNpy(await get("Float", "format=npy"));
    const png = PNG.sync.read(await get("Float", "format=png&png.min=-0.5&png.max=0.5"));
    data.forEach((v, i) => {
      if (Number.isNaN(v)) assert.equal(png.data[4 * i + 3], 0);
      else assert.ok(Math.abs(png.data[4 * i] - Math.min(255, Math.max(0, (v + 0.5) * 255))) <= 0.51, `${v}: ${png.data[4 * i]}`);
    });
  });
  await t.test("texts", async () => {
    const png = await get("Few", `format=png&png.title=${encodeURIComponent("Olinda 三 ✓")}&png.copyright=CC0`);
    const texts = chunks(png).filter(({ name }) => name === "iTXt").map(({ data }) => data.toString("utf8").split("\0").filter((part) => part));
    assert.deepEqual(texts, [["Title", "Olinda 三 ✓"], ["Copyright", "CC0"]]);
    PNG.sync.read(png);
    await refused("Few", `format=png&png.title=${"x".repeat(1001)}`, 422, "png.title has 1001 bytes");
  });
  await t.test("one pixel", async () => assert.equal(PNG.sync.read(await get("One", "format=png")).data.length, 4));
});

test("apng is read as its first frame by a reader of png", async () => {
  const apng = await get("Film", "format=apng");
  const names = chunks(apng).map(({ name }) => name);
  assert.equal(names.filter((name) => name === "fcTL").length, 4);
  assert.ok(names.indexOf("acTL") < names.indexOf("IDAT"));
  assert.deepEqual(Buffer.from(PNG.sync.read(apng).data), Buffer.from(rgbaOf(readNpy(await get("Few", "format=npy&i=10"))).rgba));
});

test("what cannot be held is refused, with what can", async () => {
  for (const format of ["png", "jpg", "tif", "npy", "csv"]) await refused("Film", `format=${format}`, 406, "webp, gif, apng");
  for (const format of ["png", "gif", "webp", "jpg"]) await refused("Six", `format=${format}`, 406, "at most 4 bands and the raster has 6");
  await refused("Few", "format=jpg&jpg.background=mauve", 422, 'jpg.background is "mauve"');
  await refused("Few", "format=jpg&jpg.background=%2312345", 422, "jpg.background");
  await refused("Few", "format=jpg&jpg.quality=0", 422, "jpg.quality");
  await refused("Six", "format=tif&tif.compress=rar", 422, "tif.compress");
  await refused("Six", "format=tif&tif.max_error=-1", 422, "tif.max_error");
  await refused("Float", "format=gif&gif.min=2&gif.max=1", 422, "gif.min (2) must be below gif.max (1)");
});

test("npy", async (t) => {
  const six = readNpy(await get("Six", "format=npy"));
  assert.deepEqual(six.shape, [6, 352, 349]);
  assert.equal(six.type, "u1");
  await t.test("is what the tif holds", async () => {
    const tiff = await fromArrayBuffer(Uint8Array.from(await get("Six", "format=tif")).buffer);
    const bands = await (await tiff.getImage()).readRasters();
    const n = 352 * 349;
    for (let b = 0; b < 6; b++) assert.deepEqual(Buffer.from(bands[b]), Buffer.from(six.data.subarray(b * n, (b + 1) * n)));
  });
  await t.test("floats stay floats, no data is NaN", async () => {
    const { shape, type, data } = readNpy(await get("Float", "format=npy"));
    assert.deepEqual(shape, [48, 64]);
    assert.equal(type, "f4");
    assert.ok(data.some((v) => v > 0 && v < 1));
  });
});

test("tif passes GDAL's validator of cloud-optimised GeoTIFFs, by every compression", async (t) => {
  for (const [udf, query] of [["Six", "deflate"], ["Six", "zstd"], ["Six", "lzw"], ["Six", "none"], ["Six", "lerc"], ["Six", "deflate&tif.predictor=false"],
    ["Float", "deflate"], ["Float", "lerc&tif.max_error=0.01"], ["Float", "zstd"], ["Coloured", "deflate"], ["Wide", "deflate"], ["Big", "deflate"]])
    await t.test(`${udf} ${query}`, async () => {
      const path = file(await get(udf, `format=tif&tif.compress=${query}`), "tif");
      const said = run("/usr/bin/python3", "-m", "osgeo_utils.samples.validate_cloud_optimized_geotiff", "--full-check=yes", path);
      assert.match(said, /is a valid cloud optimized GeoTIFF/);
      assert.doesNotMatch(said, /error|recommend/i);
      const info = JSON.parse(run("gdalinfo", "-json", path));
      const [width, height] = info.size;
      assert.equal((info.bands[0].overviews ?? []).length > 0, Math.max(width, height) > 1024, `${width} x ${height}`);
      assert.match(info.coordinateSystem.wkt, /UTM zone 25S/);
      if (query.startsWith("lerc")) assert.equal(info.metadata.IMAGE_STRUCTURE.COMPRESSION, "LERC_DEFLATE");
      if (udf === "Float") {
        assert.equal(info.bands[0].noDataValue, "NaN");
        const { data } = readNpy(await get(udf, "format=npy"));
        const tiff = await fromArrayBuffer(Uint8Array.from(await get(udf, "format=tif&tif.compress=none")).buffer);
        const [back] = await (await tiff.getImage()).readRasters();
        const flat = join(work, "flat.bin");
        run("gdal_translate", "-q", "-of", "ENVI", path, flat);
        const by = new Float32Array(Uint8Array.from(await import("node:fs").then((fs) => fs.readFileSync(flat))).buffer);
        const tolerance = query.includes("max_error") ? 0.01001 : 0;
        data.forEach((v, i) => assert.ok(Number.isNaN(v) ? Number.isNaN(by[i]) : Math.abs(by[i] - v) <= tolerance && back[i] === v, `${i}: ${v} ${by[i]}`));
      }
    });
});

test("2,048 x 2,048 pixels of four bands, the most that one read gives", async (t) => {
  for (const format of ["png", "webp", "gif", "jpg", "tif"])
    await t.test(format, async () => {
      const path = file(await get("Big", `format=${format}&i=1`), format);
      const info = JSON.parse(run("gdalinfo", "-json", path));
      assert.deepEqual(info.size, [2048, 2048]);
    });
});
