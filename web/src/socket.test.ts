/** What the page says and shows while a connection comes and goes, against a socket that is played by hand. */
import protobuf from "protobufjs";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import schema from "../../server/proto/waypost.proto?raw";
import { type Connection, LiveSocket } from "./socket";
import { apply, checksumOf, emptyState, type State } from "./store";

const { root } = protobuf.parse(schema);
const Frame = root.lookupType("waypost.v1.Frame");
const ClientMessage = root.lookupType("waypost.v1.ClientMessage");
const LEVEL = { h3Resolution: 8, counts: false, coarsened: false };

class PlayedSocket {
  static readonly OPEN = 1;
  static all: PlayedSocket[] = [];
  readyState = 0;
  sent: Record<string, unknown>[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor() {
    PlayedSocket.all.push(this);
  }

  open(): void {
    this.readyState = PlayedSocket.OPEN;
    this.onopen?.();
  }

  send(bytes: Uint8Array): void {
    this.sent.push(ClientMessage.toObject(ClientMessage.decode(bytes), { longs: Number }));
  }

  says(frame: Record<string, unknown>): void {
    this.onmessage?.({ data: Uint8Array.from(Frame.encode(Frame.fromObject(frame)).finish()).buffer });
  }

  breaks(): void {
    this.onclose?.({ code: 1006, reason: "" });
  }

  close(): void {
    this.readyState = 3;
  }
}

let state: State;
let states: Connection["kind"][];

beforeEach(() => {
  vi.useFakeTimers();
  [state, states, PlayedSocket.all] = [emptyState(), [], []];
  vi.stubGlobal("WebSocket", PlayedSocket);
  vi.stubGlobal("window", globalThis);
  vi.stubGlobal("addEventListener", () => undefined);
  vi.stubGlobal("document", { addEventListener: () => undefined, hidden: false });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

function connected(): PlayedSocket {
  const socket = new LiveSocket("ws://played", {
    token: () => "key",
    onFrame: (frame) => {
      return apply(state, frame, 0).right;
    },
    held: () => (state.tick > 0 && state.level ? { epoch: state.epoch, tick: state.tick, viewId: state.viewId, level: state.level.h3Resolution } : null),
    onFresh: () => (state = emptyState()),
    onState: ({ kind }) => states.push(kind),
    now: () => Date.now(),
  });
  socket.look({ west: 11, south: 57, east: 12, north: 58, zoom: 14, filter: { statuses: [], drivers: [], tags: [], lateRisk: false } });
  socket.start();
  const first = newest();
  first.open();
  first.says({ hello: { epoch: "5", tickMs: 100 } });
  first.says({ tick: 40, reset: true, viewId: 1, level: LEVEL });
  return first;
}

/** The connection that the page has tried last; a lost one is tried again within a second. */
function newest(): PlayedSocket {
  vi.advanceTimersByTime(1_000);
  const socket = PlayedSocket.all.at(-1);
  if (!socket) throw new Error("nothing was tried");
  return socket;
}

test("a greeting alone is not live: what is shown is still as old as it was", () => {
  connected().breaks();
  const second = newest();
  second.open();
  second.says({ hello: { epoch: "6", tickMs: 100 } });
  expect(states).toEqual(["connecting", "live", "reconnecting"]);
  second.says({ tick: 2, reset: true, viewId: 1, level: LEVEL });
  expect(states.at(-1)).toBe("live");
});

test("cut off between a new server's greeting and its first frame, it resumes with the epoch that its tick is of", () => {
  connected().breaks();
  const second = newest();
  second.open();
  second.says({ hello: { epoch: "6", tickMs: 100 } });
  second.breaks();
  const third = newest();
  third.open();
  expect(third.sent.at(-1)).toMatchObject({ resume: { sources: [{ epoch: 5, tick: 40 }], level: 8 } });
});

const WRONG = { cell: "7", whole: true, originLatE7: 0, originLngE7: 0, enters: [{ handle: 1, id: "a" }], entries: 1, checksum: 1 };
const RIGHT = { ...WRONG, checksum: checksumOf(1, 0, 0, 0) };

test("what differs from its checksum is asked for anew on the same connection, counted, and stays shown until the whole of it comes", () => {
  const warned = vi.spyOn(console, "warn").mockReturnValue(undefined);
  const socket = connected();
  socket.says({ tick: 41, viewId: 1, level: LEVEL, cells: [WRONG] });
  expect(socket.sent.at(-1)).toEqual({ resume: { view: expect.objectContaining({ viewId: 1 }), level: 8 } });
  expect([state.mismatches, state.markers.size, warned.mock.calls.length]).toEqual([1, 1, 1]);
  // On its way before the server knew: still wrong, and asked for already.
  const asked = socket.sent.length;
  socket.says({ tick: 42, viewId: 1, level: LEVEL, cells: [{ ...WRONG, whole: false, enters: [] }] });
  expect(socket.sent.slice(asked).map((message) => Object.keys(message))).toEqual([["ack"]]);
  socket.says({ tick: 43, reset: true, viewId: 1, level: LEVEL, cells: [RIGHT] });
  expect([states, PlayedSocket.all.length, state.markers.size]).toEqual([["connecting", "live"], 1, 1]);
  socket.says({ tick: 44, viewId: 1, level: LEVEL, cells: [WRONG] });
  expect(socket.sent.at(-1)).toHaveProperty("resume");
  warned.mockRestore();
});

test("an answer that is wrong as well ends the connection, and the next one starts from nothing", () => {
  const warned = vi.spyOn(console, "warn").mockReturnValue(undefined);
  const socket = connected();
  socket.says({ tick: 41, viewId: 1, level: LEVEL, cells: [WRONG] });
  socket.says({ tick: 42, reset: true, viewId: 1, level: LEVEL, cells: [WRONG] });
  expect(states.at(-1)).toBe("reconnecting");
  const second = newest();
  second.open();
  expect(second.sent.map((message) => Object.keys(message)[0])).toEqual(["auth", "view"]);
  expect(state.markers.size).toBe(0);
  warned.mockRestore();
});
