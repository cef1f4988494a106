/** What the dashboard says to the server, as bytes of `waypost.v1`, by hand after `server/proto/waypost.proto`. Never reads. */

/** Nothing set means everything; lists are "any of", and what is set must hold together. */
export interface Filter {
  readonly statuses: readonly number[];
  readonly drivers: readonly string[];
  /** `name=value`, or `name` alone for any value. */
  readonly tags: readonly string[];
  readonly lateRisk: boolean;
}

export interface View {
  west: number;
  south: number;
  east: number;
  north: number;
  zoom: number;
  filter: Filter;
  viewId: number;
}

export type ClientMessage =
  | { kind: "auth"; token: string }
  | { kind: "view"; view: View }
  | { kind: "follow"; delivery: string }
  | { kind: "resume"; sources: readonly { epoch: bigint; tick: number }[]; view: View; level: number }
  | { kind: "ack"; tick: number };

const utf8 = new TextEncoder();

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
  const { statuses, drivers, tags, lateRisk } = view.filter;
  if (statuses.length > 0 || drivers.length > 0 || tags.length > 0 || lateRisk) {
    w.message(6, (filter) => {
      if (statuses.length > 0) {
        filter.message(1, (packed) => {
          for (const status of statuses) packed.varint(status);
        });
      }
      for (const driver of drivers) filter.string(2, driver);
      for (const tag of tags) filter.string(3, tag);
      filter.uint(4, lateRisk ? 1 : 0);
    });
  }
  w.uint(7, view.viewId);
}
