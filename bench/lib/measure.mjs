// Rounds in turn (A B A B), medians and ratios pair by pair; processor time of a process tree.
import { readdirSync, readFileSync } from "node:fs";

export const median = (list) => {
  const sorted = [...list].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

/** What a list of figures comes to: median, least, most. */
export const summary = (values) => ({ median: median(values), min: Math.min(...values), max: Math.max(...values), values });

/** The processes of a tree: [{pid, name, cpu_us}], where cpu_us includes children that have ended. */
export function processes(root) {
  const all = new Map();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    let text;
    try {
      text = readFileSync(`/proc/${entry}/stat`, "latin1");
    } catch {
      continue; // it has ended
    }
    const rest = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const ticks = [11, 12, 13, 14].reduce((sum, i) => sum + Number(rest[i]), 0);
    all.set(Number(entry), { pid: Number(entry), parent: Number(rest[1]), cpu_us: ticks * 10000,
      name: text.slice(text.indexOf("(") + 1, text.lastIndexOf(")")) });
  }
  const within = (pid) => pid === root || (all.has(pid) && within(all.get(pid).parent));
  return [...all.values()].filter((process) => within(process.pid));
}

/** Processor time that the trees of `roots` have used, microseconds. */
export const cpu = (roots) => roots.flatMap(processes).reduce((sum, process) => sum + process.cpu_us, 0);

/**
 * Runs `sides` in turn for as many rounds. A side is {label, run, roots}: `run(round)` resolves to {value, done} (`done`:
 * requests answered), `roots` are the processes that its processor time is counted of. The first is ours.
 */
export async function inTurn(sides, { rounds, better = "higher" }) {
  const results = sides.map((side) => ({ label: side.label, values: [], cpu: [] }));
  for (let round = -1; round < rounds; round++) {
    for (const [i, side] of sides.entries()) {
      const before = side.roots ? cpu(side.roots) : 0;
      const { value, done } = await side.run(round);
      if (round < 0) continue; // warms up
      results[i].values.push(value);
      if (side.roots && done) results[i].cpu.push((cpu(side.roots) - before) / done);
    }
  }
  const [ours, ...peers] = results.map(({ label, values, cpu: spent }) =>
    ({ label, ...summary(values), ...(spent.length ? { cpu_us: summary(spent) } : {}) }));
  for (const peer of peers) {
    const times = (a, b) => better === "higher" ? a / b : b / a;
    peer.ratio = summary(ours.values.map((value, i) => times(value, peer.values[i])));
    if (ours.cpu_us && peer.cpu_us) {
      peer.cpu_ratio = summary(ours.cpu_us.values.map((value, i) => peer.cpu_us.values[i] / value));
    }
  }
  return { better, ours, peers };
}
