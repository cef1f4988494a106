/** A pretend server for working on the page: couriers drive random streets of Gothenburg. Encodes with protobufjs, so it also checks our decoder. Keeps nothing. */
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { extname, join, normalize } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { cellToLatLng, greatCircleDistance, latLngToCell } from "h3-js";
import protobuf from "protobufjs";
import { WebSocketServer } from "ws";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = protobuf.loadSync(here("../../server/proto/waypost.proto"));
const Frame = root.lookupType("waypost.v1.Frame");
const ClientMessage = root.lookupType("waypost.v1.ClientMessage");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2" };
const TICK_MS = 100;
const RADIUS_M = { 8: 1000, 6: 7000, 4: 45000, 2: 300000, 1: 800000 };
export const KEY = "mock-key";
export const TICKET = "mock-ticket";

/** Starts one; `close()` cuts every connection as a killed process would. */
export async function startMock({ port = 0, couriers = 400, seed = 7, cities = 1 } = {}) {
  const fleet = makeFleet(couriers, seed, cities);
  const server = createServer((request, response) => void answer(fleet, request, response));
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has("waypost.v1.proto") ? "waypost.v1.proto" : false) });
  const sessions = new Set();
  const epoch = BigInt(Math.floor(Math.random() * 2 ** 52)) * 2048n + 1n;
  server.on("upgrade", (request, socket, head) => sockets.handleUpgrade(request, socket, head, (ws) => greet(ws, sessions, epoch)));
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  let tick = 0;
  const timer = setInterval(() => {
    tick += 1;
    fleet.step(tick);
    for (const session of sessions) session.send(fleet, tick);
  }, TICK_MS);
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url, ticketUrl: `${url}/#ticket=${TICKET}`, key: KEY, fleet,
    close: () => {
      clearInterval(timer);
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

function greet(ws, sessions, epoch) {
  const session = new Session(ws);
  ws.on("message", (data) => {
    const message = ClientMessage.decode(data);
    if (message.auth) {
      if (message.auth.token !== KEY) return session.bye(2, "The key is not valid.");
      sessions.add(session);
      ws.send(Frame.encode({ hello: { epoch: epoch.toString(), tickMs: TICK_MS, pingS: 25, serverVersion: "mock", serverTimeMs: Date.now() } }).finish());
    } else if (message.view ?? message.resume?.view) {
      session.look(message.view ?? message.resume.view, Boolean(message.resume));
    } else if (message.ack) session.inFlight = Math.max(0, session.inFlight - 1);
  });
  ws.on("close", () => sessions.delete(session));
}

class Session {
  held = new Map();
  covered = new Set();
  view = null;
  inFlight = 0;
  reset = false;
  level = 0;

  constructor(ws) {
    this.ws = ws;
  }

  bye(code, reason) {
    this.ws.send(Frame.encode({ bye: { code, reason, reconnectInMs: 0 } }).finish());
    this.ws.close(4000 + code);
  }

  look(view, fresh) {
    this.view = view;
    this.unanswered = true;
    const level = view.zoom >= 13 ? 8 : view.zoom >= 10 ? 6 : view.zoom >= 7 ? 4 : view.zoom >= 4 ? 2 : 1;
    const filter = JSON.stringify(view.filter ?? {});
    if (fresh || level !== this.level || filter !== this.filter) {
      this.reset = true;
      this.held.clear();
      this.covered.clear();
    }
    this.level = level;
    this.filter = filter;
  }

  send(fleet, tick) {
    if (!this.view || this.inFlight >= 2) return;
    const wanted = new Map();
    for (const [cell, markers] of fleet.cells(this.level)) {
      if (!overlaps(this.view, cell, this.level)) continue;
      const shown = markers.filter((m) => holds(this.view.filter, m));
      if (shown.length > 0) wanted.set(cell, shown);
    }
    const counts = this.level <= 4;
    const dropped = [...this.covered].filter((cell) => !overlaps(this.view, cell, this.level));
    const cells = counts ? this.countCells(wanted) : this.markerCells(wanted, new Set(dropped));
    if (cells.length === 0 && dropped.length === 0 && !this.unanswered) return;
    for (const cell of dropped) this.covered.delete(cell);
    for (const cell of wanted.keys()) this.covered.add(cell);
    const frame = {
      cells, tick, ageMs: 20 + Math.floor(Math.random() * 90), dropped: dropped.map((cell) => BigInt(`0x${cell}`).toString()), reset: this.reset,
      viewId: this.view.viewId, level: { h3Resolution: this.level, counts, coarsened: false },
    };
    this.reset = this.unanswered = false;
    this.inFlight += 1;
    this.ws.send(Frame.encode(Frame.fromObject(frame)).finish());
  }

  countCells(wanted) {
    return [...wanted].flatMap(([cell, markers]) => {
      const byStatus = new Map();
      for (const { status } of markers) byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
      const counts = [...byStatus].sort(([a], [b]) => a - b).map(([status, count]) => ({ status, markers: count }));
      const signature = JSON.stringify(counts);
      if (this.held.get(cell) === signature) return [];
      this.held.set(cell, signature);
      const mean = (of) => Math.round(markers.reduce((sum, marker) => sum + of(marker), 0) / markers.length);
      return [{ cell: BigInt(`0x${cell}`).toString(), whole: true, originLatE7: mean((m) => m.latE7), originLngE7: mean((m) => m.lngE7), counts }];
    });
  }

  markerCells(wanted, dropped) {
    const now = new Map();
    const out = new Map();
    const of = (cell) => {
      if (!out.has(cell)) {
        const [lat, lng] = cellToLatLng(cell);
        out.set(cell, { cell: BigInt(`0x${cell}`).toString(), whole: !this.covered.has(cell), originLatE7: Math.round(lat * 1e7), originLngE7: Math.round(lng * 1e7), enters: [], leaves: [], moved: [] });
      }
      return out.get(cell);
    };
    for (const [cell, markers] of wanted) {
      for (const m of markers) {
        now.set(m.handle, cell);
        const before = this.held.get(m.handle);
        if (before?.cell === cell && before.seen === m.changed) continue;
        const chunk = of(cell);
        const dlatE7 = m.latE7 - chunk.originLatE7;
        const dlngE7 = m.lngE7 - chunk.originLngE7;
        if (before?.cell !== cell) chunk.enters.push({ handle: m.handle, dlatE7, dlngE7, meta: m.meta, driver: m.driver, id: m.id, aboard: m.aboard, heardS: m.heardS });
        else chunk.moved.push({ handle: m.handle, dlatE7, dlngE7, meta: m.meta });
        this.held.set(m.handle, { cell, seen: m.changed });
      }
    }
    for (const [handle, { cell }] of this.held) {
      if (now.get(handle) === cell) continue;
      if (!now.has(handle)) this.held.delete(handle);
      if (!dropped.has(cell)) of(cell).leaves.push({ handle });
    }
    for (const [handle, cell] of now) if (this.held.get(handle)) this.held.get(handle).cell = cell;
    return [...out.values()].map(({ moved, ...chunk }) => {
      if (moved.length === 0) return chunk;
      // Five numbers each: the low 37 bits of the handle less those before, the rest of it, two deltas in zigzag, and the meta.
      const low = (m) => m.handle % 2 ** 37;
      const zigzag = (delta) => (delta < 0 ? -2 * delta - 1 : 2 * delta);
      moved.sort((a, b) => low(a) - low(b) || a.handle - b.handle);
      const moves = moved.flatMap((m, i) => [low(m) - (i === 0 ? 0 : low(moved[i - 1])), Math.floor(m.handle / 2 ** 37), zigzag(m.dlatE7), zigzag(m.dlngE7), m.meta]);
      return { ...chunk, moves };
    });
  }
}

function holds(filter, m) {
  const { statuses = [], drivers = [], tags = [], lateRisk = false } = filter ?? {};
  const tag = m.handle % 3 === 0 ? "temperature=chilled" : "fragile=yes";
  const anyOf = (list, value) => list.length === 0 || list.includes(value);
  return anyOf(statuses, m.status) && anyOf(drivers, m.id) && (tags.length === 0 || tags.some((wish) => wish === tag || wish === tag.split("=")[0])) && (!lateRisk || m.late);
}

function overlaps(view, cell, level) {
  const [lat, lng] = cellToLatLng(cell);
  const near = [Math.min(Math.max(lat, view.south), view.north), Math.min(Math.max(lng, view.west), view.east)];
  return greatCircleDistance([lat, lng], near, "m") <= RADIUS_M[level];
}

// -------------------------------------------------------------------------------------------------- a fleet

/** Every other city is Gothenburg again, elsewhere and smaller. */
function makeFleet(couriers, seed, cities) {
  const random = generator(seed);
  const streets = readStreets();
  const ends = new Map();
  for (const street of streets) for (const end of [street[0], street.at(-1)]) ends.set(String(end), [...(ends.get(String(end)) ?? []), street]);
  const markers = Array.from({ length: couriers }, (_, i) => newMarker(i, streets, random, placeOf(Math.floor(random() ** 2 * cities))));
  return {
    markers,
    step(tick) {
      for (const m of markers) if (m.driver && m.link === 0) drive(m, tick, ends, random);
      if (tick % 5 === 0) churn(markers[Math.floor(random() * markers.length)], random, tick);
    },
    cells(level) {
      const cells = new Map();
      for (const m of markers) {
        const cell = latLngToCell(m.latE7 / 1e7, m.lngE7 / 1e7, level);
        if (!cells.has(cell)) cells.set(cell, []);
        cells.get(cell).push(m);
      }
      return cells;
    },
  };
}

function readStreets() {
  const { ways } = JSON.parse(gunzipSync(readFileSync(here("../../simulator/roads/gothenburg.json.gz"))));
  return ways.filter((way) => way.c !== "service" && way.p.length >= 6).map(({ p }) => {
    const points = [];
    for (let i = 0, lat = 0, lng = 0; i < p.length; i += 2) points.push([(lat += p[i]) * 100, (lng += p[i + 1]) * 100]);
    return points;
  });
}

/** In 1e-7 degrees from the first. */
function placeOf(city) {
  const turn = city * 2.4;
  return [Math.round(Math.sin(turn) * Math.sqrt(city) * 9e6), Math.round(Math.cos(turn) * Math.sqrt(city) * 2e7)];
}

function newMarker(i, streets, random, shift) {
  const driver = i % 12 !== 11;
  const status = driver ? [0, 3, 3, 4, 5, 6, 6, 6, 6, 7, 8, 9][Math.floor(random() * 12)] : random() < 0.7 ? 1 : 2;
  const street = streets[Math.floor(random() * streets.length)];
  const link = i % 40 === 7 ? 2 : i % 67 === 9 ? 3 : 0;
  const m = {
    handle: (i % 64) * 2 ** 37 + i + 1, id: driver ? `courier-${String(i + 1).padStart(4, "0")}` : `GBG-${48200 + i}`, driver, status: random() < 0.01 && driver ? 10 : status, link,
    aboard: driver ? Math.floor(random() * 6) : 1, late: driver && i % 14 === 3, street, leg: 0, along: 0, speed: driver ? 5 + random() * 9 : 0, dwell: 0, next: Math.floor(random() * 20), changed: 1,
    heardS: link === 0 ? 1 : link === 2 ? 190 : 2400, heading: 0, shift, latE7: street[0][0] + shift[0], lngE7: street[0][1] + shift[1], meta: 0,
  };
  return Object.assign(m, { meta: metaOf(m) });
}

/** A ping about once a second and a half, as phones send it: not at each tick. */
function drive(m, tick, ends, random) {
  if (m.dwell > 0) {
    m.dwell -= 1;
    return;
  }
  m.along += (m.speed * TICK_MS) / 1000;
  let left = m.along;
  for (;;) {
    const [a, b] = [m.street[m.leg], m.street[m.leg + 1]];
    if (!b) {
      const choices = ends.get(String(a)).filter((street) => street !== m.street);
      const street = choices[Math.floor(random() * choices.length)] ?? m.street;
      m.street = String(street[0]) === String(a) ? street : [...street].reverse();
      m.leg = 0;
      m.along = left;
      if (random() < 0.06) m.dwell = 60;
      break;
    }
    const [dy, dx] = [(b[0] - a[0]) * 0.01113, (b[1] - a[1]) * 0.01113 * 0.534];
    const length = Math.hypot(dx, dy);
    if (left < length) {
      m.at = [a[0] + ((b[0] - a[0]) * left) / length, a[1] + ((b[1] - a[1]) * left) / length];
      m.heading = ((Math.atan2(dx, dy) / (2 * Math.PI)) * 256 + 256) % 256;
      m.along = left;
      break;
    }
    left -= length;
    m.leg += 1;
  }
  if (tick < m.next || !m.at) return;
  m.next = tick + 12 + Math.floor(random() * 6);
  [m.latE7, m.lngE7] = m.at.map((value, axis) => Math.round(value) + m.shift[axis]);
  m.changed = tick;
  m.meta = metaOf(m);
}

function churn(m, random, tick) {
  if (!m.driver || m.link !== 0) return;
  m.status = m.status >= 9 ? 0 : m.status + 1;
  m.aboard = m.status === 0 ? 0 : 1 + Math.floor(random() * 5);
  m.meta = metaOf(m);
  m.changed = tick;
}

function metaOf(m) {
  const moving = m.driver && m.dwell === 0 && m.link === 0;
  return (m.status | (m.link << 4) | (moving ? 64 | 128 : 0) | ((Math.round(m.heading) & 255) << 8) | (Math.round(moving ? m.speed * 2 : 0) << 16) | (m.aboard << 24) | (m.late ? 1 << 31 : 0)) >>> 0;
}

function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

// -------------------------------------------------------------------------------------------------- HTTP

const NAMES = [null, "created", "assigned", "en_route_pickup", "at_pickup", "picked_up", "en_route_dropoff", "approaching", "arrived", "delivered", "failed", "returned", "cancelled"];
const LINKS = ["live", "delayed", "stale", "lost"];

async function answer(fleet, request, response) {
  const { pathname } = new URL(request.url, "http://mock");
  const json = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (pathname === "/v1/session" && request.method === "POST") {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    return JSON.parse(Buffer.concat(chunks)).ticket === TICKET ? json(200, { token: KEY }) : json(401, { title: "Unauthorized" });
  }
  const [, kind, id] = /^\/v1\/(drivers|deliveries)\/(.+)$/.exec(pathname) ?? [];
  if (kind) {
    if (request.headers.authorization !== `Bearer ${KEY}`) return json(401, { title: "Unauthorized" });
    const body = kind === "drivers" ? driverBody(fleet, decodeURIComponent(id)) : deliveryBody(fleet, decodeURIComponent(id));
    return body ? json(200, body) : json(404, { title: "Not Found" });
  }
  if (pathname.startsWith("/v1/")) return json(404, { title: "Not Found" });
  const file = normalize(pathname === "/" ? "/index.html" : pathname);
  try {
    const body = await readFile(join(here("../dist"), file));
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
}

const inMinutes = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();

function markerBody(m) {
  return {
    id: m.id, status: NAMES[m.status], link: LINKS[m.link], motion: m.dwell > 0 ? "stopped" : "moving", heard: inMinutes(-m.heardS / 60), speed_mps: m.speed,
    position: { lat: m.latE7 / 1e7, lng: m.lngE7 / 1e7, accuracy_m: 8 },
  };
}

function driverBody(fleet, id) {
  const m = fleet.markers.find((marker) => marker.driver && marker.id === id);
  if (!m) return null;
  const deliveries = Array.from({ length: m.aboard }, (_, i) => ({
    id: `GBG-${m.handle % 1000}${i}7`, status: NAMES[i === 0 ? m.status : 5], eta: inMinutes(7 + i * 9), promised_by: inMinutes(i === 1 ? 10 : 40 + i * 9),
  }));
  return { ...markerBody(m), deliveries, deliveries_count: m.aboard };
}

function deliveryBody(fleet, id) {
  const m = fleet.markers.find((marker) => marker.id === id) ?? fleet.markers.find((marker) => marker.driver && marker.aboard > 0 && id.startsWith(`GBG-${marker.handle % 1000}`));
  if (!m) return null;
  const steps = ["created", "assigned", "en_route_pickup", "at_pickup", "picked_up", "en_route_dropoff"].slice(0, m.driver ? 6 : 1);
  return {
    ...markerBody(m), id, status: steps.at(-1), driver: m.driver ? m.id : null, assignment: "explicit", eta: m.driver ? inMinutes(11) : null, promised_by: inMinutes(26),
    recipient_ref: "r-88213", attributes: { temperature: "chilled" },
    history: steps.map((status, i) => ({ status, time: inMinutes(-48 + i * 8), legal: true, reason: null })),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const mock = await startMock({ port: Number(process.env.PORT ?? 7070), couriers: Number(process.env.COURIERS ?? 600), cities: Number(process.env.CITIES ?? 1) });
  console.log(mock.ticketUrl);
}
