// bench/main.mjs: runs the cases that are named, and writes the report after each of them.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem, release, loadavg } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { root, build, peersDir, stopAll } from "./lib/servers.mjs";
import { html } from "./lib/report.mjs";

const files = { cached: "cached", http2: "cached", string: "string", raster: "raster", vector: "vector", start: "start", png: "png", encode: "encode" };
const how = { rounds: 5, seconds: 3, out: join(root, "bench") };
const names = [];
for (let args = process.argv.slice(2); args.length;) {
  const arg = args.shift();
  const option = arg.match(/^--(rounds|seconds|out)$/)?.[1];
  if (option) how[option] = option === "out" ? args.shift() : Number(args.shift());
  else if (files[arg]) names.push(arg);
  else {
    console.error(`bench: there is no ${arg}; there are ${Object.keys(files).join(", ")}, --rounds N, --seconds S, --out DIR`);
    process.exit(2);
  }
}

/** The version that a program prints, or nothing when it is not here. */
function version(command, pattern, env = {}) {
  const { stdout, stderr } = spawnSync(command[0], command.slice(1), { encoding: "utf8", env: { ...process.env, ...env } });
  return `${stdout ?? ""}${stderr ?? ""}`.match(pattern)?.[1];
}

function machine() {
  const distribution = readFileSync("/etc/os-release", "utf8").match(/^PRETTY_NAME="(.*)"/m)?.[1];
  return { processors: cpus().length, processor: cpus()[0].model.trim(), memory_gb: Math.round(totalmem() / 2 ** 30), system: distribution,
    kernel: release().match(/^\d+\.\d+/)[0], load_before: Number(loadavg()[0].toFixed(2)) };
}

const found = {
  moongate: version(["git", "-C", root, "rev-parse", "--short", "HEAD"], /(\w+)/),
  nginx: version(["nginx", "-v"], /nginx\/([\d.]+)/),
  mapserver: existsSync("/usr/lib/cgi-bin/mapserv") ? version(["/usr/lib/cgi-bin/mapserv", "-v"], /version ([\d.]+)/) : undefined,
  titiler: version([join(peersDir, "titiler/bin/pip"), "show", "titiler.application"], /Version: ([\d.]+)/),
  postgresql: version(["psql", "--version"], /([\d.]+)/),
  libpng: version(["pkg-config", "--modversion", "libpng"], /([\d.]+)/),
  gdal: version(["gdalinfo", "--version"], /([\d.]+)/),
  wrk: version(["wrk", "-v"], /wrk \S*?([\d.]+)/),
  h2load: version(["h2load", "--version"], /\/([\d.]+)/),
};

const report = { date: new Date().toISOString().slice(0, 16) + "Z", machine: machine(), versions: found,
  method: { rounds: how.rounds, seconds: how.seconds }, rows: [], failed: [] };
// Cases that are not named keep their rows of an earlier run, with its date.
const earlier = join(how.out, "report.json");
if (names.length && existsSync(earlier)) {
  const { date, rows } = JSON.parse(readFileSync(earlier));
  report.rows = rows.filter((row) => !names.includes(row.name)).map((row) => ({ ...row, date: row.date ?? date }));
}

function write() {
  writeFileSync(join(how.out, "report.json"), `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(join(how.out, "report.html"), html(report));
}

const figure = (value) => value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
process.on("SIGINT", () => process.exit(130));
for (const name of names.length ? names : Object.keys(files)) {
  console.log(`== ${name}`);
  try {
    const rows = await (await import(`./cases/${files[name]}.mjs`))[name](how);
    for (const row of rows) {
      console.log(`${row.group}: ${row.work}: ${figure(row.ours.median)} ${row.unit}` + row.peers.map((peer) =>
        `; ${peer.label} ${figure(peer.median)}, ${figure(peer.ratio.median)}x`).join("") + (row.missing ?? []).map((peer) =>
        `; missing: ${peer}`).join(""));
    }
    report.rows.push(...rows.map((row) => ({ name, date: report.date, ...row })));
  } catch (error) {
    console.error(error);
    report.failed.push({ name, message: String(error.message).split("\n")[0].replaceAll(root, "").slice(0, 300) });
  }
  await stopAll();
  write();
}
process.exit(report.failed.length ? 1 : 0);
