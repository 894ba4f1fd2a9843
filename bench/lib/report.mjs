// One page out of the figures: a table and bars, without anything from outside.
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const figure = (value) => value == null ? "" : value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
const times = (ratio) => `${ratio.median.toFixed(ratio.median < 10 ? 2 : 0)}x`;

/** Bars of a row: length is the median, the thin line runs from least to most. */
function chart(row) {
  const sides = [row.ours, ...row.peers], most = Math.max(...sides.map((side) => side.max)), left = 250, width = 420;
  const x = (value) => left + width * value / most;
  const bars = sides.map((side, i) => {
    const y = 4 + i * 22;
    return `<text x="${left - 8}" y="${y + 12}" text-anchor="end">${escape(side.label)}</text>` +
      `<rect x="${left}" y="${y}" width="${Math.max(1, width * side.median / most).toFixed(1)}" height="16" class="${i ? "peer" : "ours"}"/>` +
      `<line x1="${x(side.min).toFixed(1)}" x2="${x(side.max).toFixed(1)}" y1="${y + 8}" y2="${y + 8}"/>` +
      `<text x="${(x(side.max) + 6).toFixed(1)}" y="${y + 12}">${figure(side.median)}</text>`;
  });
  return `<svg viewBox="0 0 760 ${sides.length * 22 + 4}" role="img" aria-label="${escape(row.work)}">${bars.join("")}</svg>`;
}

function target(row) {
  if (row.target) return `at least ${row.target}x`;
  return row.most ? `at most ${row.most} ${row.unit}` : "";
}

function met(row) {
  if (row.most) return row.ours.median <= row.most;
  if (!row.target || !row.peers.length) return null;
  return row.peers[0].ratio.median >= row.target;
}

const spread = (side) => `${figure(side.min)} to ${figure(side.max)}`;

function section(row, date) {
  const reached = met(row);
  const lines = [row.ours, ...row.peers].map((side) => `<tr><td>${escape(side.label)}</td><td>${figure(side.median)}</td><td>${spread(side)}</td>` +
    `<td>${side.ratio ? `${times(side.ratio)} <small>(${side.ratio.min.toFixed(2)} to ${side.ratio.max.toFixed(2)})</small>` : ""}</td>` +
    `<td>${side.cpu_us ? figure(side.cpu_us.median) : ""}</td><td>${side.cpu_ratio ? times(side.cpu_ratio) : ""}</td></tr>`);
  const notes = [row.content, row.note, row.date && row.date !== date ? `measured ${row.date}` : "", ...(row.missing ?? []).map((peer) => `missing: ${peer}`)].filter((note) => note?.length);
  return `<h3>${escape(row.work)}${target(row) ? ` <small class="${reached === null ? "" : reached ? "met" : "short"}">target ${target(row)}` +
    `${reached === null ? "" : reached ? ", met" : ", not met"}</small>` : ""}</h3>${chart(row)}
<table><tr><th></th><th>median, ${escape(row.unit)}</th><th>least to most</th><th>ours against it</th><th>processor us each</th><th>the same by processor time</th></tr>
${lines.join("\n")}</table>${notes.length ? `<p>${notes.map(escape).join("; ")}</p>` : ""}`;
}

export function html(report) {
  const { machine, versions, method, rows, failed } = report;
  const groups = [...new Set(rows.map((row) => row.group))];
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Moongate: measurements</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 820px; margin: 2em auto; padding: 0 1em; color: #222 }
h2 { margin-top: 2em; border-bottom: 1px solid #ccc } h3 { margin-bottom: .3em } small { font-weight: normal; color: #666 }
small.met { color: #17692f } small.short { color: #a33 }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 2px 10px 2px 0; text-align: right } td:first-child { text-align: left }
svg { width: 100%; font: 12px system-ui, sans-serif } .ours { fill: #2b6cb0 } .peer { fill: #b8c4d0 } line { stroke: #222 }
p { font-size: 13px; color: #555; margin: .3em 0 }
</style>
<h1>Moongate: measurements</h1>
<p>${escape(report.date)}; ${machine.processors} processors (${escape(machine.processor)}), ${machine.memory_gb} GB, ${escape(machine.system)}, Linux
${escape(machine.kernel)}; load before the run ${machine.load_before}. ${escape(Object.entries(versions).filter(([, v]) => v).map(([n, v]) => `${n} ${v}`).join(", "))}.</p>
<p>Ours and the peers in turn on loopback, ${method.rounds} rounds of ${method.seconds} s after one that warms up. Every process of a server runs on the first
processor, the load generator on the last. The ratio is taken round by round; its median counts. Processor time is that of all processes of a server, for
each answer. What is compared was compared for equal content first.</p>
${failed.map(({ name, message }) => `<p><b>${escape(name)} failed: ${escape(message)}</b></p>`).join("\n")}
${groups.map((group) => `<h2>${escape(group)}</h2>\n${rows.filter((row) => row.group === group).map((row) => section(row, report.date)).join("\n")}`).join("\n")}
</html>
`;
}
