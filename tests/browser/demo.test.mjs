// The map pages in a real browser: the tiles that it loads are counted, and pixels of its picture are read back.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { PNG } from "pngjs";
import { build, folder, serve, writeUdf } from "../lib/server.mjs";

// WebGL by SwiftShader: no graphics card is needed. Nothing that asks for another host.
const args = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
  "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"];

let server, browser;
const own = join(folder(), "my_scene.tif");
before(async () => {
  copyFileSync(join(build, "share/data/L7_ETMs.tif"), own);
  server = await serve([own]);
  await server.ready();
  browser = await chromium.launch({ executablePath: process.env.MOONGATE_CHROMIUM ?? "/usr/bin/chromium", args });
});
after(async () => {
  await browser?.close();
  await server.stop();
});

/** Opens a page of the server and waits until its map is idle. Gives { page, tiles, faults }: 200 tiles by UDF. */
async function open(path) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 760 } });
  const page = await context.newPage(), tiles = {}, faults = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) faults.push(message.text()); });
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("requestfailed", (asked) => faults.push(`${asked.url()}: ${asked.failure().errorText}`));
  page.on("request", (asked) => {
    const url = new URL(asked.url());
    if (!["data:", "blob:"].includes(url.protocol) && url.origin !== server.url) faults.push(`another host: ${url}`);
  });
  page.on("response", (answer) => {
    const [, token, run] = new URL(answer.url()).pathname.split("/");
    if (answer.status() !== 200) faults.push(`${answer.status()} ${answer.url()}`);
    else if (run === "run") tiles[token] = (tiles[token] ?? 0) + 1;
  });
  await page.goto(server.url + path);
  await idle(page);
  return { page, tiles, faults };
}

const idle = (page) => page.waitForSelector('body[data-idle="true"]', { timeout: 90000 });

async function picture(page, name) {
  const bytes = await page.screenshot({ clip: { x: 0, y: 0, width: 880, height: 760 } });
  if (process.env.MOONGATE_SHOTS) writeFileSync(join(process.env.MOONGATE_SHOTS, `${name}.png`), await page.screenshot());
  return PNG.sync.read(bytes);
}

const count = ({ data }, is) => {
  let n = 0;
  for (let i = 0; i < data.length; i += 4) n += is(data[i], data[i + 1], data[i + 2]);
  return n;
};
const green = (r, g, b) => g > r + 25 && g > b + 25;
const red = (r, g, b) => r > g + 50 && r > b + 40;
const orange = (r, g, b) => r > 170 && g > 40 && g < 140 && b < 100;
const differing = (a, b) => {
  let n = 0;
  for (let i = 0; i < a.data.length; i += 4)
    n += Math.abs(a.data[i] - b.data[i]) + Math.abs(a.data[i + 1] - b.data[i + 1]) + Math.abs(a.data[i + 2] - b.data[i + 2]) > 24;
  return n;
};

/** Sets the switch of a layer and waits for the map. */
async function toggle(page, name) {
  await page.evaluate(() => { document.body.dataset.idle = "false"; });
  await page.getByRole("checkbox", { name, exact: true }).click();
  await idle(page);
}

test("the first page: NDVI over the relief, places, countries, all from this server", async (t) => {
  const { page, tiles, faults } = await open("/");
  await t.test("tiles of each example were loaded", () => {
    for (const name of ["Landsat_NDVI", "Olinda_Hillshade", "World_Places", "World_Countries"])
      assert.ok(tiles[`UDF_${name}`] >= 1, `${name}: ${JSON.stringify(tiles)}`);
    assert.ok(tiles.UDF_Landsat_NDVI >= 4, JSON.stringify(tiles));
  });
  const all = await picture(page, "demo");
  await t.test("vegetation is green, bare ground and water red", () => {
    assert.ok(count(all, green) > 3000, `${count(all, green)} green pixels`);
    assert.ok(count(all, red) > 3000, `${count(all, red)} red pixels`);
  });
  for (const name of ["Landsat_NDVI", "Olinda_Hillshade", "World_Places"])
    await t.test(`the switch of ${name} takes its layer away and brings it back`, async () => {
      await toggle(page, name);
      const without = await picture(page, `without-${name}`);
      assert.ok(differing(all, without) > (name === "World_Places" ? 50 : 5000), `${differing(all, without)} pixels changed`);
      if (name === "Landsat_NDVI") assert.ok(count(without, green) < count(all, green) / 20, "no vegetation without NDVI");
      await toggle(page, name);
      assert.ok(differing(all, await picture(page, `with-${name}`)) < 50, "as it was before");
    });
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("the world: places are dots on the countries", async () => {
  const { page, tiles, faults } = await open("/#2/20/10");
  const world = await picture(page, "world");
  assert.ok(tiles.UDF_World_Places >= 1 && tiles.UDF_World_Countries >= 1, JSON.stringify(tiles));
  assert.ok(count(world, orange) > 1000, `${count(world, orange)} pixels of places`);
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("the map of one UDF by its token shows its tiles and the Leaflet line", async () => {
  const token = server.udfs.Olinda_Hillshade;
  const { page, tiles, faults } = await open(`/${token}/map`);
  assert.ok(tiles[token] >= 4, JSON.stringify(tiles));
  assert.match(await page.textContent("aside"), new RegExp(`L\\.tileLayer\\("http.*/${token}/run/tiles/\\{z\\}/\\{x\\}/\\{y\\}\\.png"\\)`));
  const shown = await picture(page, "hillshade");
  assert.ok(count(shown, (r, g, b) => r === g && g === b) > 20000, "grey relief");
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("an own file is on the map, zoomed there", async () => {
  const [name, token] = Object.entries(server.udfs).find(([udf]) => /my_?scene/i.test(udf));
  const { page, tiles, faults } = await open(`/${token}/map`);
  assert.ok(tiles[token] >= 1, JSON.stringify(tiles));
  const shown = await picture(page, "own");
  const sea = (r, g, b) => Math.abs(r - 207) < 3 && Math.abs(g - 221) < 3 && Math.abs(b - 230) < 3;
  assert.ok(count(shown, (...c) => !sea(...c)) > 30000, `${name} covers some of the map`);
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("a UDF that fails says so on its map", async () => {
  const broken = await serve([brokenFolder()]);
  try {
    await broken.ready();
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${broken.url}/${broken.udfs.Fails}/map`);
    await page.waitForSelector("#errors:not([hidden])", { timeout: 60000 });
    assert.match(await page.textContent("#errors"), /raised an error|500/);
    await context.close();
  } finally {
    await broken.stop();
  }
});

function brokenFolder() {
  const dir = folder();
  writeUdf(dir, "Fails", `local moon = require "moon"
return moon.udf(function(bounds) error("no") end, { bounds = moon.type.tile })`, {
    "meta.json": JSON.stringify({ version: "0.0.3", job_config: { version: "0.0.3", name: "Fails", metadata: {}, steps: [{ type: "udf",
      udf: { type: "lua", name: "Fails", entrypoint: "udf", parameters: {}, source: "Fails.lua", headers: [],
        metadata: { "fused:udfType": "raster" } } }] } }),
  });
  return dir;
}
