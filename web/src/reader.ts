/** Reads the fields of Protobuf messages one by one. Knows no message of ours. */

/** The bytes are no message of this schema. */
export class WireError extends Error {}

const TWO_32 = 4294967296;
const text = new TextDecoder();

/** Reads one message's fields in order. `end` moves inwards for nested messages. */
export class Reader {
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
