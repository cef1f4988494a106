/**
 * What is seen while the map moves, frame by frame in a real browser, against the real server (`WAYPOST_BIN` = its folder) with parked drivers whose places
 * are known: a pan shows no empty edge, and a change of the level of detail no hole and no double. Prints the figures; ends with 1 when a claim does not hold.
 * `WAYPOST_SOAK=1` pans for 60 s instead of 12, and zooms through all levels more often.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { check, claims, DEADLINE_MS, eventually, launch, look, servesDist } from "./chromium.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const SOAK = process.env.WAYPOST_SOAK === "1";
const PAN_S = Number(process.env.WAYPOST_PAN_S ?? (SOAK ? 60 : 12));
const ZOOM_ROUNDS = SOAK ? 6 : 3;
const SIZE = { width: 1280, height: 800 };
const WISH_MS = 100;
/** A machine that is busy with something else for a moment keeps these; a page that asks when an edge is seen does not: half of what comes is late then. */
const LONGEST_ABSENCE_MS = 1_500;
const MOST_ABSENT = 0.2;
/** The line between page and server: this each way, as in a mobile network; 0 is none but this machine. */
const LINE_MS = Number(process.env.WAYPOST_LINE_MS ?? 60);
/** A field that a pan of a minute does not leave, at the zoom where a screen holds the most of single markers. */
const FIELD = { west: 11, south: 57.4, east: 13, north: 58, zoom: 13.05, drivers: 20_000 };
/** A town that is in view at every zoom. */
const TOWN = { lng: -130, lat: -30, spread: 0.003, drivers: 500, moving: 60, zoom: 14.4 };

const binary = `${process.env.WAYPOST_BIN ?? here("../../target/debug")}/waypost`;
const browser = existsSync(binary) ? await launch() : null;
if (!browser) {
  console.log(`SKIPPED the test of the map in motion: no Chromium here, or no ${binary}`);
  process.exit(0);
}

const { claim, failed } = claims();
const random = generator(7);
const folder = mkdtempSync(join(tmpdir(), "waypost-motion-"));
// The server reads WAYPOST_* as its settings and refuses those it does not know: ours are not for it.
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("WAYPOST_")));
// Each world is a tenant of its own: at the lowest zoom both would be in view.
const keyOf = (tenant) => execFileSync(binary, ["keys", "create", "--data", folder, "--tenant", tenant, "--role", "admin"], { env }).toString().trim();
const [fieldKey, townKey] = ["field", "town"].map(keyOf);
const server = spawn(binary, ["serve", "--data", folder, "--listen", "127.0.0.1:0"], { env, stdio: ["ignore", "pipe", "ignore"] });
try {
  const url = await address(server);
  const field = Array.from({ length: FIELD.drivers }, (_, i) => driver(`field-${i}`, FIELD.west + random() * (FIELD.east - FIELD.west), FIELD.south + random() * (FIELD.north - FIELD.south)));
  const town = Array.from({ length: TOWN.drivers }, (_, i) => driver(`town-${i}`, TOWN.lng + (random() - 0.5) * TOWN.spread, TOWN.lat + (random() - 0.5) * TOWN.spread));
  await park(url, fieldKey, field);
  await park(url, townKey, town);
  await claim("a pan shows no empty edge", () => pans(url, field));
  await claim("a change of the level of detail shows no hole and no double", () => zooms(url, town));
  await claim("a cell that differs from its checksum is mended on the same connection", () => mends(url));
} finally {
  await browser.close();
  server.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed.length === 0 ? "PASS motion" : `FAIL motion: ${failed.join(", ")}`);
process.exit(failed.length === 0 ? 0 : 1);

// ------------------------------------------------------------------------------------------------ the world

async function address(child) {
  for await (const line of createInterface({ input: child.stdout })) if (line.startsWith("listening on ")) return line.slice("listening on ".length);
  throw new Error("the server printed no address");
}

function driver(id, lng, lat) {
  return { id, lng, lat };
}

async function park(url, key, drivers) {
  for (let from = 0; from < drivers.length; from += 1_000) {
    const now = new Date().toISOString();
    const events = drivers.slice(from, from + 1_000).map(({ id, lng, lat }) => ({ event_id: crypto.randomUUID(), event_name: "location", actor_id: id, event_time: now, payload: { lat, lng, accuracy_m: 5 } }));
    const response = await fetch(`${url}/v1/events`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: JSON.stringify(events) });
    if (response.status === 429 || response.status === 503) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      from -= 1_000;
    } else check(response.ok, `${response.status} ${await response.text()}`);
  }
}

async function opened(url, key, { lng, lat, zoom }, prepare = async () => undefined) {
  const context = await browser.newContext({ viewport: SIZE });
  await servesDist(context);
  await context.addInitScript((token) => sessionStorage.setItem("waypost.token", token), key);
  const page = await context.newPage();
  await prepare(page);
  await page.goto(`${url}/?at=${zoom}/${lat}/${lng}`);
  return page;
}

function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

// ------------------------------------------------------------------------------------------------ pan

async function pans(url, field) {
  const page = await opened(url, fieldKey, { lng: FIELD.west + 0.1, lat: (FIELD.south + FIELD.north) / 2, zoom: FIELD.zoom }, slowLine);
  await eventually(page, (w) => w.connection === "live" && w.inView > 20, "the parked drivers");
  await page.waitForTimeout(1_000);
  await page.evaluate(watchEdges, field);
  await dragFor(page, PAN_S * 1_000);
  const seen = await page.evaluate(() => window.__edges.stop());
  const figures = `over a line of ${2 * LINE_MS} ms: longest absence ${seen.longestMs.toFixed(0)} ms (wish: ${WISH_MS}), ${seen.absent} of ${seen.came} that came within the edge were absent at all; ` +
    `${seen.screens.toFixed(1)} screens in ${(seen.lastedMs / 1_000).toFixed(1)} s, ${seen.frames} frames, the longest ${seen.longestFrameMs.toFixed(0)} ms`;
  console.log(`     ${figures}`);
  check(seen.came > PAN_S * 12 && seen.screens > PAN_S / 4, `the pan did not go far enough: ${figures}`);
  check(seen.longestMs <= LONGEST_ABSENCE_MS && seen.absent <= seen.came * MOST_ABSENT, figures);
  check((await look(page)).mismatches === 0, "a checksum differs");
  await page.context().close();
}

/** Each message comes as much later as on a longer line, and in its order. */
async function slowLine(page) {
  if (LINE_MS === 0) return;
  await page.routeWebSocket(/\/v1\/live$/, (socket) => {
    const upstream = socket.connectToServer();
    const late = (send) => (message) => setTimeout(() => send(message), LINE_MS);
    socket.onMessage(late((message) => upstream.send(message)));
    upstream.onMessage(late((message) => socket.send(message)));
  });
}

/** Runs in the page: at each frame, who is on the screen by their known places and is not drawn. */
function watchEdges(parked) {
  const inside = new Set();
  const missing = new Map();
  const out = { longestMs: 0, absent: 0, came: 0, screens: 0, frames: 0, longestFrameMs: 0, lastedMs: 0 };
  const began = performance.now();
  let [last, running, before] = [began, true, window.__waypost.screen()];
  const arrived = (id, since, now) => {
    out.absent += 1;
    out.longestMs = Math.max(out.longestMs, now - since);
    missing.delete(id);
  };
  const frame = () => {
    if (!running) return;
    const now = performance.now();
    const screen = window.__waypost.screen();
    out.frames += 1;
    out.longestFrameMs = Math.max(out.longestFrameMs, now - last);
    out.screens += Math.hypot((screen.west - before.west) / (screen.east - screen.west), (screen.south - before.south) / (screen.north - screen.south));
    [last, before] = [now, screen];
    for (const { id, lng, lat } of parked) {
      const since = missing.get(id);
      if (lng < screen.west || lng > screen.east || lat < screen.south || lat > screen.north) {
        inside.delete(id);
        if (since !== undefined) arrived(id, since, now);
        continue;
      }
      if (!inside.has(id)) out.came += 1;
      inside.add(id);
      const drawn = window.__waypost.draws(id);
      if (drawn && since !== undefined) arrived(id, since, now);
      if (!drawn && since === undefined) missing.set(id, now);
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.__edges = {
    stop: () => {
      running = false;
      const now = performance.now();
      for (const [id, since] of missing) arrived(id, since, now);
      return { ...out, lastedMs: now - began };
    },
  };
}

/** Like a hand: most of a screen's width in a second, a flick at its end, and again; east and back again, a little up and down. */
async function dragFor(page, ms) {
  const until = Date.now() + ms;
  const STROKE_MS = 850;
  for (let stroke = 0; Date.now() < until; stroke += 1) {
    const away = Math.floor(stroke / 12) % 2 === 0 ? -1 : 1;
    const [fromX, fromY] = [SIZE.width * (away < 0 ? 0.96 : 0.28), SIZE.height * (0.5 + 0.1 * Math.sin(stroke))];
    const [dx, dy] = [away * SIZE.width * 0.66, SIZE.height * 0.12 * Math.cos(stroke)];
    const began = Date.now();
    await page.mouse.move(fromX, fromY);
    await page.mouse.down();
    for (;;) {
      const share = Math.min(1, (Date.now() - began) / STROKE_MS);
      // Slow at first, fastest when let go.
      const way = share ** 1.3;
      await page.mouse.move(fromX + dx * way, fromY + dy * way);
      if (share >= 1) break;
      await page.waitForTimeout(12);
    }
    await page.mouse.up();
    await page.waitForTimeout(120);
  }
}

// ------------------------------------------------------------------------------------------------ zoom

async function zooms(url, town) {
  const page = await opened(url, townKey, TOWN);
  await eventually(page, (w) => w.drawn === TOWN.drivers && w.inView === TOWN.drivers, "the whole town");
  await page.evaluate(watchNumber, TOWN.drivers);
  let [driving, trips] = [true, 0];
  const traffic = (async () => {
    while (driving) {
      const moved = town.slice(0, TOWN.moving).map(({ id }) => driver(id, TOWN.lng + (random() - 0.5) * TOWN.spread, TOWN.lat + (random() - 0.5) * TOWN.spread));
      await park(url, townKey, moved);
      trips += 1;
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  })();
  try {
    for (let round = 0; round < ZOOM_ROUNDS; round += 1) {
      const by = 420 - (round % 3) * 140;
      await wheel(page, by, (zoom) => zoom < 3.6);
      await wheel(page, -by, (zoom) => zoom > TOWN.zoom - 0.2);
      await jiggle(page);
    }
  } finally {
    driving = false;
    await traffic;
  }
  const seen = await page.evaluate(() => window.__number.stop());
  console.log(`     ${seen.frames} frames, ${seen.changes} changes of level (${seen.levels.join(", ")}), ${trips} times ${TOWN.moving} of ${TOWN.drivers} moved; frames with another number: ${seen.wrong.length} ${JSON.stringify(seen.wrong.slice(0, 4))}`);
  check(seen.levels.length === 5 && seen.changes >= ZOOM_ROUNDS * 8, `not all levels were seen: ${JSON.stringify(seen)}`);
  check(seen.wrong.length === 0, JSON.stringify(seen.wrong.slice(0, 10)));
  await page.context().close();
}

/** Some clicks of the wheel at once, always with the pointer over the town: a pixel beside it far away is a screen beside it close up. */
async function wheel(page, by, isThere) {
  let [deadline, before] = [0, Infinity];
  for (;;) {
    const { zoom, at } = await whereTownIs(page);
    if (isThere(zoom)) return;
    if (Math.abs(zoom - before) > 0.02) [deadline, before] = [Date.now() + DEADLINE_MS, zoom];
    check(Date.now() < deadline, `the zoom stays at ${zoom}`);
    await page.mouse.move(...at);
    for (let click = 0; click < 5; click += 1) {
      await page.mouse.wheel(0, by);
      await page.waitForTimeout(60);
    }
    // A gesture of the wheel keeps its first place until it rests.
    await page.waitForTimeout(320);
  }
}

async function jiggle(page) {
  const { at: [x, y] } = await whereTownIs(page);
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + 90, y + 40, { steps: 6 });
  await page.mouse.move(SIZE.width / 2, SIZE.height / 2, { steps: 6 });
  // Held still, so that it is let go without a flick.
  await page.waitForTimeout(300);
  await page.mouse.up();
}

async function whereTownIs(page) {
  const screen = await page.evaluate(() => window.__waypost.screen());
  const y = (lat) => Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));
  const at = [((TOWN.lng - screen.west) / (screen.east - screen.west)) * SIZE.width, ((y(screen.north) - y(TOWN.lat)) / (y(screen.north) - y(screen.south))) * SIZE.height];
  return { zoom: screen.zoom, at };
}

/** Runs in the page: at each frame, how many markers the points and the circles stand for. */
function watchNumber(expected) {
  const out = { frames: 0, changes: 0, levels: [], wrong: [] };
  let [level, running] = [null, true];
  const frame = () => {
    if (!running) return;
    const now = window.__waypost.inspect();
    const circled = [...document.querySelectorAll(".cluster")].reduce((sum, circle) => sum + Number.parseInt(circle.getAttribute("aria-label") ?? "0", 10), 0);
    out.frames += 1;
    if (now.level !== level) out.changes += 1;
    level = now.level;
    if (!out.levels.includes(level)) out.levels.push(level);
    if (now.drawn + circled !== expected || (now.drawn > 0 && circled > 0)) out.wrong.push({ frame: out.frames, drawn: now.drawn, circled, level, ...window.__waypost.screen() });
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.__number = { stop: () => ((running = false), out) };
}

// ------------------------------------------------------------------------------------------------ a wrong cell

/** One frame on its way to the page is changed: what the page then holds is not what the server says that it is. */
async function mends(url) {
  const Frame = protobuf.loadSync(here("../../server/proto/waypost.proto")).lookupType("waypost.v1.Frame");
  let [spoiled, connections] = [0, 0];
  const page = await opened(url, townKey, TOWN, (page) => page.routeWebSocket(/\/v1\/live$/, (socket) => {
    connections += 1;
    const upstream = socket.connectToServer();
    upstream.onMessage((bytes) => {
      const frame = Frame.decode(bytes);
      const cell = frame.cells.find(({ enters }) => enters.length > 1);
      if (spoiled > 0 || !cell) return socket.send(bytes);
      spoiled += 1;
      cell.enters[0].dlatE7 += 1;
      return socket.send(Buffer.from(Frame.encode(frame).finish()));
    });
  }));
  const seen = await eventually(page, (w) => w.mismatches === 1 && w.frames >= 3 && w.drawn === TOWN.drivers && w.connection === "live", "the mended picture");
  check(spoiled === 1 && connections === 1, `${spoiled} spoiled, ${connections} connections: ${JSON.stringify(seen)}`);
  await page.context().close();
}
