/**
 * Measures `waypost demo`: how long a browser takes from navigation to the first frame with markers, and what the process costs.
 * Takes the release binary (`WAYPOST_BIN` = its folder); prints a table. Ends with 1 when something does not work, never because it is slow.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.mjs";

const RUNS = Number(process.env.WAYPOST_RUNS ?? 10);
const DRIVERS = process.env.WAYPOST_DRIVERS ?? "2000";
const SAMPLE_S = Number(process.env.WAYPOST_SAMPLE_S ?? 30);
const WARM_UP_S = 20;
const DEADLINE_MS = 30_000;
/** `sysconf(_SC_CLK_TCK)`, which Linux fixes for what it tells in /proc. */
const TICKS_A_SECOND = 100;

const binary = `${process.env.WAYPOST_BIN ?? fileURLToPath(new URL("../../target/release", import.meta.url))}/waypost`;
const demo = spawn(binary, ["demo", "--drivers", DRIVERS, "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "ignore"] });
let browser;
try {
  const address = await firstAddress(demo);
  browser = await launch();
  if (!browser) throw new Error("no Chromium here");
  const first = await paint(address, null);
  const token = await first.page.evaluate(() => sessionStorage.getItem("waypost.token"));
  await first.page.context().close();
  await seconds(WARM_UP_S);
  const alone = await cost(demo.pid);
  const runs = [];
  for (let run = 0; run < RUNS; run += 1) {
    const painted = await paint(new URL(address).origin, token);
    await painted.page.context().close();
    runs.push(painted);
  }
  const watched = await paint(new URL(address).origin, token);
  await seconds(2);
  report(first, runs, alone, await cost(demo.pid));
  await watched.page.context().close();
} finally {
  await browser?.close();
  demo.kill("SIGINT");
}

async function firstAddress(child) {
  for await (const line of createInterface({ input: child.stdout })) if (line.startsWith("http://")) return line;
  throw new Error(`${binary} demo printed no address`);
}

/** A browser that was never here (a context has a cache of its own) opens the page; times are from the start of the navigation. */
async function paint(address, token) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  if (token) await context.addInitScript((key) => sessionStorage.setItem("waypost.token", key), token);
  const page = await context.newPage();
  await page.goto(address, { waitUntil: "commit" });
  const times = await page.waitForFunction(() => {
    const [markers] = performance.getEntriesByName("waypost: first markers");
    if (!markers) return null;
    const [document] = performance.getEntriesByType("navigation");
    const scripts = performance.getEntriesByType("resource").filter(({ initiatorType }) => initiatorType === "script" || initiatorType === "link");
    const mark = (name) => performance.getEntriesByName(`waypost: ${name}`)[0]?.startTime ?? null;
    return {
      html: document.responseEnd, files: Math.max(...scripts.map(({ responseEnd }) => responseEnd)), main: mark("main"), style: mark("style"), markers: markers.startTime,
      drawn: window.__waypost.inspect().drawn,
    };
  }, null, { timeout: DEADLINE_MS, polling: "raf" });
  return { page, ...(await times.jsonValue()) };
}

function seconds(count) {
  return new Promise((resolve) => setTimeout(resolve, count * 1_000));
}

async function cost(pid) {
  const before = cpuSeconds(pid);
  const began = performance.now();
  await seconds(SAMPLE_S);
  const share = (cpuSeconds(pid) - before) / ((performance.now() - began) / 1_000);
  const [, rss] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return { share, rssMb: Number(rss) / 1_000 };
}

function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // After the command's name, which may hold spaces: user and system time are the fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

function report(first, runs, alone, watched) {
  const ms = (time) => (time === null ? "-" : `${Math.round(time)} ms`).padStart(9);
  const sorted = (step) => runs.map((run) => run[step]).sort((a, b) => a - b);
  const row = (words, step) => {
    const all = sorted(step);
    console.log(`${words.padEnd(34)}${ms(first[step])}${ms(all[Math.floor(all.length / 2)])}${ms(all.at(-1))}`);
  };
  console.log(`waypost demo --drivers ${DRIVERS}, ${runs.length} browsers with an empty cache, ${Math.min(...runs.map(({ drawn }) => drawn))} markers drawn or more`);
  console.log(`${"from the start of the navigation to".padEnd(34)}${"just up".padStart(9)}${"median".padStart(9)}${"worst".padStart(9)}`);
  row("the page", "html");
  row("its scripts and styles", "files");
  row("their first line", "main");
  row("the map's style", "style");
  row("the first frame with markers", "markers");
  const costs = ({ share, rssMb }) => `${Math.round(rssMb)} MB resident, ${(share * 100).toFixed(1)} % of a core over ${SAMPLE_S} s`;
  console.log(`the process: ${costs(alone)}; with one page open: ${costs(watched)}`);
}
