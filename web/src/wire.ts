/** Bytes of `waypost.v1` to and from plain objects, by hand after `server/proto/waypost.proto`. Never keeps state; skips fields it does not know. */

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
  originLatE7: number;
  originLngE7: number;
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

export interface View {
  west: number;
  south: number;
  east: number;
  north: number;
  zoom: number;
  statuses: readonly number[];
  drivers: readonly string[];
  viewId: number;
}

export type ClientMessage =
  | { kind: "auth"; token: string }
  | { kind: "view"; view: View }
  | { kind: "follow"; delivery: string }
  | { kind: "resume"; sources: readonly { epoch: bigint; tick: number }[]; view: View; level: number }
  | { kind: "ack"; tick: number };

/** The bytes are no message of this schema. */
export class WireError extends Error {}

const TWO_32 = 4294967296;
const text = new TextDecoder();
const utf8 = new TextEncoder();

/** Reads one message's fields in order. `end` moves inwards for nested messages. */
class Reader {
  private readonly view: DataView;
  pos = 0;
  end: number;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.end = bytes.length;
  }

  byte(): number {
    const value = this.pos < this.end ? this.bytes[this.pos] : undefined;
    if (value === undefined) throw new WireError("cut short");
    this.pos += 1;
    return value;
  }

  /** A varint of at most 53 bits, exact; what lies above is cut off. */
  varint(): number {
    let byte = this.byte();
    if (byte < 0x80) return byte;
    let low = byte & 0x7f;
    for (let shift = 7; shift < 28; shift += 7) {
      byte = this.byte();
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) return low;
    }
    byte = this.byte();
    low = (low | ((byte & 0x0f) << 28)) >>> 0;
    let high = (byte & 0x70) >>> 4;
    for (let shift = 3; byte >= 0x80; shift += 7) {
      if (shift > 31) throw new WireError("varint too long");
      byte = this.byte();
      high |= (byte & 0x7f) << shift;
    }
    return (high >>> 0) * TWO_32 + low;
  }

  uint32(): number {
    return this.varint() >>> 0;
  }

  sint32(): number {
    const value = this.uint32();
    return (value >>> 1) ^ -(value & 1);
  }

  bool(): boolean {
    return this.varint() !== 0;
  }

  fixed32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  fixed64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }

  string(): string {
    const length = this.varint();
    const from = this.take(length);
    return text.decode(this.bytes.subarray(from, from + length));
  }

  /** Reads a nested message by handing each of its tags to `field`. */
  message(field: (tag: number) => void): void {
    const length = this.varint();
    const stop = this.pos + length;
    if (stop > this.end) throw new WireError("cut short");
    const outer = this.end;
    this.end = stop;
    this.fields(field);
    this.end = outer;
  }

  fields(field: (tag: number) => void): void {
    while (this.pos < this.end) field(this.varint());
  }

  /** A repeated scalar, packed or not. */
  repeated(tag: number, read: () => void): void {
    if ((tag & 7) !== 2) return read();
    const length = this.varint();
    const stop = this.pos + length;
    if (stop > this.end) throw new WireError("cut short");
    while (this.pos < stop) read();
  }

  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.varint();
        return;
      case 1:
        this.take(8);
        return;
      case 2:
        this.take(this.varint());
        return;
      case 5:
        this.take(4);
        return;
      default:
        throw new WireError(`wire type ${tag & 7}`);
    }
  }

  private take(length: number): number {
    const from = this.pos;
    if (from + length > this.end) throw new WireError("cut short");
    this.pos = from + length;
    return from;
  }
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
    cell: 0n, whole: false, originLatE7: 0, originLngE7: 0, enters: [], moves: null, leaves: [], counts: [], entries: null, checksum: null,
  };
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: out.cell = r.fixed64(); break;
      case 2: out.whole = r.bool(); break;
      case 3: out.originLatE7 = r.sint32(); break;
      case 4: out.originLngE7 = r.sint32(); break;
      case 5: out.enters.push(enter(r)); break;
      case 6: out.moves = moves(r); break;
      case 7: out.leaves.push(leave(r)); break;
      case 8: out.counts.push(count(r)); break;
      case 9: out.entries = r.uint32(); break;
      case 10: out.checksum = r.fixed32(); break;
      default: r.skip(tag);
    }
  });
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

function moves(r: Reader): Moves {
  const out: Moves = { handle: [], dlatE7: [], dlngE7: [], meta: [] };
  let last = 0;
  r.message((tag) => {
    switch (tag >>> 3) {
      case 1: r.repeated(tag, () => out.handle.push((last += r.varint()))); break;
      case 2: r.repeated(tag, () => out.dlatE7.push(r.sint32())); break;
      case 3: r.repeated(tag, () => out.dlngE7.push(r.sint32())); break;
      case 4: r.repeated(tag, () => out.meta.push(r.fixed32())); break;
      default: r.skip(tag);
    }
  });
  const length = out.handle.length;
  if (out.dlatE7.length !== length || out.dlngE7.length !== length || out.meta.length !== length) throw new WireError("columns of unequal length");
  return out;
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

/** Collects one message's bytes. What a dashboard says is short, so a plain array serves. */
class Writer {
  readonly bytes: number[] = [];

  varint(value: number): void {
    while (value >= 0x80) {
      this.bytes.push((value % 128) | 0x80);
      value = Math.floor(value / 128);
    }
    this.bytes.push(value);
  }

  uint(field: number, value: number): void {
    if (value === 0) return;
    this.varint(field << 3);
    this.varint(value);
  }

  double(field: number, value: number): void {
    if (value === 0) return;
    this.varint((field << 3) | 1);
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value, true);
    for (let i = 0; i < 8; i += 1) this.bytes.push(view.getUint8(i));
  }

  fixed64(field: number, value: bigint): void {
    this.varint((field << 3) | 1);
    for (let shift = 0n; shift < 64n; shift += 8n) this.bytes.push(Number((value >> shift) & 0xffn));
  }

  string(field: number, value: string): void {
    if (value !== "") this.block(field, utf8.encode(value));
  }

  message(field: number, write: (inner: Writer) => void): void {
    const inner = new Writer();
    write(inner);
    this.block(field, inner.bytes);
  }

  private block(field: number, bytes: ArrayLike<number>): void {
    this.varint((field << 3) | 2);
    this.varint(bytes.length);
    for (let i = 0; i < bytes.length; i += 1) this.bytes.push(bytes[i] ?? 0);
  }
}

export function encodeClientMessage(message: ClientMessage): Uint8Array<ArrayBuffer> {
  const w = new Writer();
  switch (message.kind) {
    case "auth":
      w.message(1, (m) => m.string(1, message.token));
      break;
    case "view":
      w.message(2, (m) => writeView(m, message.view));
      break;
    case "follow":
      w.message(3, (m) => m.string(1, message.delivery));
      break;
    case "resume":
      w.message(4, (m) => {
        for (const source of message.sources) {
          m.message(1, (s) => {
            s.fixed64(1, source.epoch);
            s.uint(2, source.tick);
          });
        }
        m.message(2, (v) => writeView(v, message.view));
        m.uint(3, message.level);
      });
      break;
    case "ack":
      w.message(5, (m) => m.uint(1, message.tick));
      break;
  }
  return Uint8Array.from(w.bytes);
}

function writeView(w: Writer, view: View): void {
  w.double(1, view.west);
  w.double(2, view.south);
  w.double(3, view.east);
  w.double(4, view.north);
  w.double(5, view.zoom);
  if (view.statuses.length > 0 || view.drivers.length > 0) {
    w.message(6, (filter) => {
      if (view.statuses.length > 0) {
        filter.message(1, (packed) => {
          for (const status of view.statuses) packed.varint(status);
        });
      }
      for (const driver of view.drivers) filter.string(2, driver);
    });
  }
  w.uint(7, view.viewId);
}
