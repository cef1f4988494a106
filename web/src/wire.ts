/** Frames of the server from bytes to plain objects, by hand after `server/proto/waypost.proto`. Keeps no state; skips fields it does not know. */

import { Reader, WireError } from "./reader";

export interface Enter {
  handle: number;
  dlatE7: number;
  dlngE7: number;
  meta: number;
  driver: boolean;
  id: string;
  aboard: number;
  latE7: number;
  lngE7: number;
  heardS: number;
}

export interface Moves {
  /** Absolute handles: the differences of the wire are summed already. */
  handle: number[];
  dlatE7: number[];
  dlngE7: number[];
  meta: number[];
}

/** Bits 24-30 of `meta`: deliveries aboard; at 127 the column is full and only an enter says how many there are. */
export const ABOARD_FULL = 127;

export function aboardOf(meta: number): number {
  return (meta >>> 24) & 127;
}

/** Bit 31 of `meta`: a delivery of this marker is at risk of being late. */
export function isLateRisk(meta: number): boolean {
  return meta >>> 31 === 1;
}

export interface Leave {
  handle: number;
  ended: number;
  gone: boolean;
}

export interface Count {
  status: number;
  markers: number;
}

export interface Cell {
  cell: bigint;
  whole: boolean;
  /** What deltas are against; null: as last told of this cell. */
  originLatE7: number | null;
  originLngE7: number | null;
  enters: Enter[];
  moves: Moves | null;
  leaves: Leave[];
  counts: Count[];
  entries: number | null;
  checksum: number | null;
}

export interface Level {
  h3Resolution: number;
  counts: boolean;
  coarsened: boolean;
}

export interface Hello {
  epoch: bigint;
  tickMs: number;
  pingS: number;
  serverVersion: string;
  serverTimeMs: number;
}

export interface Lag {
  behind: boolean;
  mergedTicks: number;
}

export interface Bye {
  code: number;
  reason: string;
  reconnectInMs: number;
}

export interface Frame {
  cells: Cell[];
  tick: number;
  ageMs: number;
  dropped: bigint[];
  reset: boolean;
  viewId: number;
  level: Level | null;
  hello: Hello | null;
  lag: Lag | null;
  bye: Bye | null;
  followed: Enter | null;
}

export function decodeFrame(bytes: Uint8Array): Frame {
  const r = new Reader(bytes);
  const frame: Frame = {
    cells: [], tick: 0, ageMs: 0, dropped: [], reset: false, viewId: 0, level: null, hello: null, lag: null, bye: null, followed: null,
  };
  r.fields((tag) => {
    switch (tag >>> 3) {
      case 1: frame.cells.push(cell(r)); break;
      case 2: frame.tick = r.varint(); break;
      case 3: frame.ageMs = r.uint32(); break;
      case 4: r.repeated(tag, () => frame.dropped.push(r.fixed64())); break;
      case 5: frame.reset = r.bool(); break;
      case 6: frame.viewId = r.uint32(); break;
      case 7: frame.level = level(r); break;
      case 8: frame.hello = hello(r); break;
      case 9: frame.lag = lag(r); break;
      case 10: frame.bye = bye(r); break;
      case 11: frame.followed = enter(r); break;
      default: r.skip(tag);
    }
  });
  return frame;
}

function cell(r: Reader): Cell {
  const out: Cell = {
    cell: 0n, whole: false, originLatE7: null, originLngE7: null, enters: [], moves: null, leaves: [], counts: [], entries: null, checksum: null,
  };
  const packed: number[] = [];
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.cell = r.fixed64(); break;
      case 2: out.whole = r.bool(); break;
      case 3: out.originLatE7 = r.sint32(); break;
      case 4: out.originLngE7 = r.sint32(); break;
      case 5: out.enters.push(enter(r)); break;
      case 11: r.repeated(tag, () => packed.push(r.varint())); break;
      case 7: out.leaves.push(leave(r)); break;
      case 8: out.counts.push(count(r)); break;
      case 9: out.entries = r.uint32(); break;
      case 10: out.checksum = r.fixed32(); break;
      default: r.skip(tag);
    }
  });
  out.moves = moves(packed);
  return out;
}

function enter(r: Reader): Enter {
  const out: Enter = { handle: 0, dlatE7: 0, dlngE7: 0, meta: 0, driver: false, id: "", aboard: 0, latE7: 0, lngE7: 0, heardS: 0 };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.handle = r.varint(); break;
      case 2: out.dlatE7 = r.sint32(); break;
      case 3: out.dlngE7 = r.sint32(); break;
      case 4: out.meta = r.uint32(); break;
      case 5: out.driver = r.bool(); break;
      case 6: out.id = r.string(); break;
      case 7: out.aboard = r.uint32(); break;
      case 8: out.latE7 = r.sint32(); break;
      case 9: out.lngE7 = r.sint32(); break;
      case 10: out.heardS = r.uint32(); break;
      default: r.skip(tag);
    }
  });
  return out;
}

/** A handle is cut in two: the numbers of 37 bits follow each other, what is above them stands beside. */
const LOW = 2 ** 37;

function moves(packed: number[]): Moves | null {
  if (packed.length % 5 !== 0) throw new WireError("moves are not five numbers each");
  if (packed.length === 0) return null;
  const out: Moves = { handle: [], dlatE7: [], dlngE7: [], meta: [] };
  let low = 0;
  for (let i = 0; i < packed.length; i += 5) {
    low += packed[i] ?? 0;
    out.handle.push((packed[i + 1] ?? 0) * LOW + low);
    out.dlatE7.push(unfold(packed[i + 2] ?? 0));
    out.dlngE7.push(unfold(packed[i + 3] ?? 0));
    out.meta.push((packed[i + 4] ?? 0) >>> 0);
  }
  return out;
}

/** Zigzag: small numbers of either sign are small. */
function unfold(value: number): number {
  return (value >>> 1) ^ -(value & 1);
}

function leave(r: Reader): Leave {
  const out: Leave = { handle: 0, ended: 0, gone: false };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.handle = r.varint(); break;
      case 2: out.ended = r.uint32(); break;
      case 3: out.gone = r.bool(); break;
      default: r.skip(tag);
    }
  });
  return out;
}

function count(r: Reader): Count {
  const out: Count = { status: 0, markers: 0 };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.status = r.uint32(); break;
      case 2: out.markers = r.uint32(); break;
      default: r.skip(tag);
    }
  });
  return out;
}

function level(r: Reader): Level {
  const out: Level = { h3Resolution: 0, counts: false, coarsened: false };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.h3Resolution = r.uint32(); break;
      case 2: out.counts = r.bool(); break;
      case 3: out.coarsened = r.bool(); break;
      default: r.skip(tag);
    }
  });
  return out;
}

function hello(r: Reader): Hello {
  const out: Hello = { epoch: 0n, tickMs: 0, pingS: 0, serverVersion: "", serverTimeMs: 0 };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.epoch = r.fixed64(); break;
      case 2: out.tickMs = r.uint32(); break;
      case 3: out.pingS = r.uint32(); break;
      case 4: out.serverVersion = r.string(); break;
      case 5: out.serverTimeMs = r.varint(); break;
      default: r.skip(tag);
    }
  });
  return out;
}

function lag(r: Reader): Lag {
  const out: Lag = { behind: false, mergedTicks: 0 };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.behind = r.bool(); break;
      case 2: out.mergedTicks = r.uint32(); break;
      default: r.skip(tag);
    }
  });
  return out;
}

function bye(r: Reader): Bye {
  const out: Bye = { code: 0, reason: "", reconnectInMs: 0 };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.code = r.uint32(); break;
      case 2: out.reason = r.string(); break;
      case 3: out.reconnectInMs = r.uint32(); break;
      default: r.skip(tag);
    }
  });
  return out;
}
