// The servers that are measured: ours, and peers. Each on loopback, on a port that was free, on the first processor, with
// one loop or one worker, without an access log.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import net from "node:net";
import { output, onServer, has } from "./load.mjs";

export const root = process.env.MOONGATE_ROOT, build = process.env.MOONGATE_BUILD, peersDir = process.env.MOONGATE_PEERS;
const stops = [];

export function folder() {
  const dir = mkdtempSync(join(tmpdir(), "moongate-bench-"));
  chmodSync(dir, 0o755);
  stops.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Stops what is still running, the last started first. */
export async function stopAll() {
  while (stops.length) await stops.pop()();
}

/** Starts a program that stays; its log is shown when it ends too early. Gives {child, stop}. */
function start(command, { env = {}, cwd, stdout = "pipe" } = {}) {
  const child = spawn(command[0], command.slice(1), { env: { ...process.env, ...env }, cwd, stdio: ["ignore", stdout, "pipe"] });
  const server = { child, log: "", stopped: false };
  child.stderr.on("data", (part) => { server.log += part; });
  server.ended = new Promise((resolve) => child.on("exit", resolve));
  server.stop = async (signal = "SIGTERM") => {
    if (server.stopped) return;
    server.stopped = true;
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), 5000); // mapserv looks at signals between requests only
    await server.ended;
    clearTimeout(late);
  };
  stops.push(() => server.stop());
  return server;
}

async function listening(port, server) {
  for (let i = 0; i < 2000; i++) {
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => { socket.destroy(); resolve(true); });
      socket.on("error", () => resolve(false));
    });
    if (open) return;
    if (server?.child.exitCode != null) break;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`nothing listens on port ${port}: ${server?.log ?? ""}`);
}

/** Ours: one loop, one worker unless told otherwise. `token(name)` is the text of a UDF's token. */
export async function moongate({ threads = 1, workers = 1, data = folder() } = {}) {
  const server = start([...onServer, join(build, "moongate"), "serve", join(root, "bench/udfs"), join(build, "share/udfs"), "--json",
    "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--tls-self-signed", "--data", data,
    "--threads", String(threads), "--workers", String(workers), "--log-level", "error",
    "--access-log", "off"],
  { env: { HOME: data } });
  server.udfs = {};
  let text = "";
  await new Promise((resolve, reject) => {
    server.child.stdout.on("data", (part) => {
      text += part;
      if (!text.endsWith("\n")) return;
      for (const line of text.trim().split("\n")) {
        const row = JSON.parse(line);
        server.url = row.url;
        server.tlsUrl = row.tls_url;
        server.udfs[row.udf] = row.token;
      }
      if (server.udfs.Bench_Elevation) resolve();
    });
    server.ended.then((code) => reject(new Error(`moongate ended with ${code}:\n${server.log}`)));
  });
  server.token = (name) => server.udfs[name];
  server.roots = [server.child.pid];
  server.metric = async (name) => Number((await get(`${server.url}/metrics`)).text
    .match(new RegExp(`^moongate_${name} (\\S+)`, "m"))[1]);
  return server;
}

/** GET; {status, headers, body, text}. A status other than 200 is an error. */
export async function get(url, headers = {}) {
  const answer = await fetch(url, { headers });
  const body = Buffer.from(await answer.arrayBuffer());
  if (answer.status !== 200) throw new Error(`${url}: ${answer.status} ${body.toString("utf8", 0, 300)}`);
  return { status: answer.status, headers: answer.headers, body, get text() { return body.toString("utf8"); } };
}

/** nginx, one worker. `files`: name to bytes, served statically; `locations`, `modules`: further lines of its configuration. */
export async function nginx({ files = {}, locations = "", top = "", http = "", env = {} } = {}) {
  if (!has("nginx")) return null;
  const dir = folder(), [port, tlsPort] = [await freePort(), await freePort()];
  mkdirSync(join(dir, "root"));
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(dir, "root", name), bytes);
  await output(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
    "-subj", "/CN=localhost", "-keyout", join(dir, "key.pem"), "-out", join(dir, "cert.pem")]);
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`).join(" ");
  writeFileSync(join(dir, "nginx.conf"), `${top}
daemon off; worker_processes 1; pid ${dir}/pid; error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; server_tokens off; ${temp}
  open_file_cache max=1000 inactive=600s; open_file_cache_valid 600s; open_file_cache_min_uses 1;
  types { image/png png; application/vnd.mapbox-vector-tile mvt; text/html html; }
  ${http}
  server {
    listen 127.0.0.1:${port}; listen 127.0.0.1:${tlsPort} ssl http2;
    ssl_certificate ${dir}/cert.pem; ssl_certificate_key ${dir}/key.pem; ssl_protocols TLSv1.3;
    root ${dir}/root;
    ${locations}
  }
}
`);
  const server = start([...onServer, "nginx", "-e", "stderr", "-p", dir, "-c", join(dir, "nginx.conf")], { env });
  await listening(port, server);
  return Object.assign(server, { url: `http://127.0.0.1:${port}`, tlsUrl: `https://127.0.0.1:${tlsPort}`, roots: [server.child.pid] });
}

/** nginx with its Lua module in process, or null. */
export function nginxLua(lua) {
  const dir = join(peersDir, "nginx-lua");
  if (!existsSync(dir)) return null;
  return nginx({
    top: `load_module ${dir}/usr/lib/nginx/modules/ndk_http_module.so; load_module ${dir}/usr/lib/nginx/modules/ngx_http_lua_module.so;`,
    http: `lua_package_path "${dir}/usr/share/lua/5.1/?.lua;;";`,
    locations: `location /hello { default_type "text/html; charset=utf-8"; content_by_lua_block { ${lua} } }`,
    env: { LD_LIBRARY_PATH: `${dir}/usr/lib/x86_64-linux-gnu:${dir}/lib/x86_64-linux-gnu` },
  });
}

/** MapServer: one FastCGI process behind nginx, or null. */
export async function mapserver(mapfile) {
  const program = "/usr/lib/cgi-bin/mapserv";
  if (!existsSync(program) || !has("spawn-fcgi")) return null;
  const dir = folder(), port = await freePort();
  writeFileSync(join(dir, "bench.map"), mapfile);
  writeFileSync(join(dir, "mapserver.conf"), 'CONFIG\n  ENV\n    MS_MAP_PATTERN "."\n  END\nEND\n');
  const server = start([...onServer, "spawn-fcgi", "-n", "-a", "127.0.0.1", "-p", String(port), "--", program],
    { env: { MS_MAPFILE: join(dir, "bench.map"), MAPSERVER_CONFIG_FILE: join(dir, "mapserver.conf") }, stdout: "ignore" });
  await listening(port, server);
  const front = await nginx({ locations: // one process answers one connection at a time: none is kept
    `location /ms { include /etc/nginx/fastcgi_params; fastcgi_pass 127.0.0.1:${port};
      fastcgi_param MS_MAPFILE ${dir}/bench.map; fastcgi_param MAPSERVER_CONFIG_FILE ${dir}/mapserver.conf; }` });
  return { url: front.url, roots: [server.child.pid, ...front.roots], stop: async () => { await front.stop(); await server.stop(); } };
}

/** TiTiler: one uvicorn process, or null. */
export async function titiler() {
  const dir = join(peersDir, "titiler");
  if (!existsSync(dir)) return null;
  const port = await freePort();
  const server = start([...onServer, join(dir, "bin/python"), "-m", "uvicorn", "titiler.application.main:app", "--host", "127.0.0.1",
    "--port", String(port), "--workers", "1", "--no-access-log", "--log-level", "error"],
  { env: { GDAL_CACHEMAX: "200", GDAL_DISABLE_READDIR_ON_OPEN: "EMPTY_DIR", VSI_CACHE: "TRUE", PYTHONWARNINGS: "ignore",
    TITILER_API_CACHECONTROL: "" }, stdout: "ignore" });
  await listening(port, server);
  return Object.assign(server, { url: `http://127.0.0.1:${port}`, roots: [server.child.pid] });
}

/** PostgreSQL with PostGIS in a folder of its own, with the file's points loaded as table places, or null. */
export async function postgis(file) {
  const bin = "/usr/lib/postgresql/15/bin";
  if (!existsSync(join(bin, "initdb")) || !has("pgbench") || !has("ogr2ogr")) return null;
  if (!existsSync("/usr/share/postgresql/15/extension/postgis.control")) return null;
  const dir = folder(), data = join(dir, "data"), port = await freePort();
  const asRoot = process.getuid() === 0, as = asRoot ? ["runuser", "-u", "postgres", "--"] : [];
  mkdirSync(data, { mode: 0o700 });
  if (asRoot) await output(["chown", "-R", "postgres:postgres", dir]);
  const user = asRoot ? "postgres" : process.env.USER;
  await output([...as, join(bin, "initdb"), "-D", data, "-U", user, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"], { cwd: dir });
  const server = start([...onServer, ...as, join(bin, "postgres"), "-D", data, "-p", String(port), "-c", "listen_addresses=127.0.0.1",
    "-c", `unix_socket_directories=${dir}`, "-c", "shared_buffers=256MB", "-c", "jit=off", "-c", "fsync=off",
    "-c", "max_parallel_workers_per_gather=0"], { cwd: dir, stdout: "ignore" });
  await listening(port, server);
  const place = ["-h", "127.0.0.1", "-p", String(port), "-U", user];
  const sql = (text) => output(["psql", ...place, "-d", "postgres", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", text]);
  for (let i = 0; ; i++) {
    try {
      await sql("CREATE EXTENSION IF NOT EXISTS postgis");
      break;
    } catch (error) {
      if (i > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  await output(["ogr2ogr", "-f", "PostgreSQL", `PG:host=127.0.0.1 port=${port} user=${user} dbname=postgres`, file, "-nln", "places",
    "-t_srs", "EPSG:3857", "-lco", "GEOMETRY_NAME=geom", "-lco", "FID=id", "--config", "PG_USE_COPY", "YES"]);
  await sql("CLUSTER places USING places_geom_geom_idx");
  await sql("ANALYZE places");
  await sql(`CREATE FUNCTION tile(z integer, x integer, y integer) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
    BEGIN RETURN (SELECT ST_AsMVT(q, 'udf', 4096, 'geom', 'id') FROM (
      SELECT id, name, country, admin1, admin2, ST_AsMVTGeom(geom, ST_TileEnvelope(z, x, y), 4096, 64, true) AS geom
      FROM places WHERE geom && ST_TileEnvelope(z, x, y, margin => 64.0 / 4096)) q WHERE geom IS NOT NULL); END $$`);
  server.tile = async (z, x, y) => Buffer.from((await sql(`SELECT encode(tile(${z}, ${x}, ${y}), 'hex')`)).trim(), "hex");
  server.sql = sql;
  server.place = place;
  server.roots = [server.child.pid];
  return server;
}
