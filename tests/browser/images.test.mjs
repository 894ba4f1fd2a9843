// Every image format in a real browser: Chromium decodes what we answer, and each pixel is compared with the samples that the
// same UDF gives as npy. Animations frame by frame, with their times, by ImageDecoder.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { PNG } from "pngjs";
import { folder, request, serve } from "../lib/server.mjs";
import { readNpy, rgbaOf, writePictures } from "../lib/pictures.mjs";

let server, browser, page;
before(async () => {
  const dir = folder();
  writePictures(dir);
  server = await serve([dir]);
  await server.ready();
  browser = await chromium.launch({ executablePath: process.env.MOONGATE_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-gpu"] });
  page = await (await browser.newContext()).newPage();
  await page.goto(`${server.url}/health`); // ImageDecoder needs a secure context, which localhost is
});
after(async () => {
  await browser?.close();
  await server.stop();
});

async function get(udf, query) {
  const answer = await request(server, { path: `/${server.udfs[udf]}/run/file?${query}` });
  assert.equal(answer.status, 200, `${udf}?${query}: ${answer.text.slice(0, 300)}`);
  return answer;
}

/** All frames of an image as Chromium shows them: [{ width, height, ms, rgba }]. */
async function decode({ body, headers }) {
  const frames = await page.evaluate(async ({ data, type }) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const decoder = new ImageDecoder({ data: bytes, type, colorSpaceConversion: "none" });
    await decoder.tracks.ready;
    await decoder.completed;
    const all = [];
    for (let i = 0; i < decoder.tracks.selectedTrack.frameCount; i++) {
      const { image } = await decoder.decode({ frameIndex: i, completeFramesOnly: true });
      const canvas = new OffscreenCanvas(image.displayWidth, image.displayHeight), context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const { data: rgba } = context.getImageData(0, 0, canvas.width, canvas.height);
      all.push({ width: canvas.width, height: canvas.height, ms: image.duration === null ? null : image.duration / 1000, rgba: Array.from(rgba) });
      image.close();
    }
    return all;
  }, { data: body.toString("base64"), type: headers["content-type"] === "image/apng" ? "image/png" : headers["content-type"] });
  return frames.map((frame) => ({ ...frame, rgba: Uint8Array.from(frame.rgba) }));
}

/** The greatest and the mean difference of a channel, where the expected pixel shows at all. */
function difference(shown, expected) {
  assert.deepEqual([shown.width, shown.height], [expected.width, expected.height]);
  let most = 0, sum = 0;
  for (let i = 0; i < expected.rgba.length; i += 4)
    for (let c = 0; c < 4; c++) {
      const d = c < 3 && expected.rgba[i + 3] === 0 ? 0 : Math.abs(shown.rgba[i + c] - expected.rgba[i + c]);
      most = Math.max(most, d);
      sum += d;
    }
  return { most, mean: sum / expected.rgba.length };
}

const samples = async (udf, query = "") => rgbaOf(readNpy((await get(udf, `format=npy&${query}`)).body));
const byPng = async (udf, query = "") => {
  const { width, height, data } = PNG.sync.read((await get(udf, `format=png&${query}`)).body);
  return { width, height, rgba: data };
};

test("single pictures", async (t) => {
  for (const [udf, query, most, mean] of [
    ["Few", "format=png", 0, 0], ["Many", "format=png", 0, 0], ["Few", "format=gif", 0, 0], ["Few", "format=apng", 0, 0],
    ["Many", "format=apng", 0, 0], ["Many", "format=webp&webp.lossless=true", 0, 0], ["Many", "format=webp&webp.quality=95", 60, 4],
    ["Many", "format=jpg&jpg.quality=98", 60, 4], ["Many", "format=gif", 60, 4], ["One", "format=png", 0, 0],
  ])
    await t.test(`${udf} ${query}`, async () => {
      const expected = udf === "One" ? await byPng(udf) : await samples(udf);
      const frames = await decode(await get(udf, query));
      assert.equal(frames.length, 1);
      const d = difference(frames[0], expected);
      assert.ok(d.most <= most && d.mean <= mean, JSON.stringify(d));
    });
});

test("a palette with transparent pixels", async (t) => {
  const expected = await byPng("Coloured");
  assert.ok(expected.rgba.some((v, i) => i % 4 === 3 && v === 0), "some pixels are transparent");
  for (const format of ["png", "gif", "apng", "webp"])
    await t.test(format, async () => {
      const [frame] = await decode(await get("Coloured", `format=${format}`));
      assert.deepEqual(difference(frame, expected), { most: 0, mean: 0 });
    });
  await t.test("jpg, over a colour", async () => {
    const [frame] = await decode(await get("Coloured", "format=jpg&jpg.quality=95&jpg.background=%23ff8000"));
    let n = 0, sum = 0;
    for (let i = 0; i < expected.rgba.length; i += 4)
      if (expected.rgba[i + 3] === 0) {
        sum += Math.abs(frame.rgba[i] - 255) + Math.abs(frame.rgba[i + 1] - 128) + Math.abs(frame.rgba[i + 2]);
        n++;
      }
    assert.ok(n > 0 && sum / n < 60, `${sum / n} levels from the background`);
  });
});

test("an animation, opaque", async (t) => {
  const expected = await Promise.all([10, 20, 30, 40].map((i) => samples("Few", `i=${i}`)));
  for (const [query, most] of [["", 0], ["format=apng", 0], ["format=gif", 0], ["format=webp&webp.lossless=true", 0]])
    await t.test(query || "by default an apng", async () => {
      const answer = await get("Film", query);
      if (!query) assert.equal(answer.headers["content-type"], "image/apng");
      const frames = await decode(answer);
      assert.deepEqual(frames.map(({ ms }) => ms), [100, 200, 50, 300]);
      frames.forEach((frame, i) => assert.ok(difference(frame, expected[i]).most <= most, `frame ${i + 1}`));
    });
});

test("an animation with transparent pixels that come and go", async (t) => {
  const expected = await Promise.all([6, 12, 18].map((i) => byPng("Coloured", `i=${i}`)));
  const differ = (a, b) => a.rgba.some((v, i) => v !== b.rgba[i]);
  assert.ok(differ(expected[0], expected[1]) && differ(expected[1], expected[2]), "the frames differ");
  for (const format of ["apng", "gif", "webp"])
    await t.test(format, async () => {
      const frames = await decode(await get("Clear_Film", `format=${format}`));
      assert.deepEqual(frames.map(({ ms }) => ms), [120, 120, 120]);
      frames.forEach((frame, i) => assert.deepEqual(difference(frame, expected[i]), { most: 0, mean: 0 }, `frame ${i + 1}`));
    });
});
