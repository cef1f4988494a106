/** Holds the hand-written codec against protobufjs reading the schema of record, and against bytes written down by hand. */
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import schema from "../../server/proto/waypost.proto?raw";
import { encodeClientMessage } from "./encode";
import { WireError } from "./reader";
import { aboardOf, decodeFrame, isLateRisk } from "./wire";

const { root } = protobuf.parse(schema);
const Frame = root.lookupType("waypost.v1.Frame");
const ClientMessage = root.lookupType("waypost.v1.ClientMessage");

const encode = (frame: object): Uint8Array => Frame.encode(Frame.fromObject(frame)).finish();
const CELL = "612592925420879871";

describe("decodeFrame", () => {
  test("reads bytes written down by hand", () => {
    // cells { cell 1, whole, enters { handle 300, dlat -1, id "a" } }, tick 5
    const bytes = [0x0a, 0x15, 0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0x2a, 0x08, 0x08, 0xac, 0x02, 0x10, 0x01, 0x32, 0x01, 0x61, 0x10, 0x05];
    const frame = decodeFrame(Uint8Array.from(bytes));
    expect(frame.tick).toBe(5);
    expect(frame.cells[0]).toMatchObject({ cell: 1n, whole: true, enters: [{ handle: 300, dlatE7: -1, id: "a" }] });
  });

  test("reads every field as protobufjs wrote it", () => {
    const frame = decodeFrame(encode({
      tick: 4_000_000_000_123, ageMs: 4_294_967_295, dropped: [CELL, "1"], reset: true, viewId: 7, level: { h3Resolution: 8, counts: true, coarsened: true },
      hello: { epoch: "18446744073709551615", tickMs: 100, pingS: 25, serverVersion: "0.1.0", serverTimeMs: 1_795_000_000_000 },
      lag: { behind: true, mergedTicks: 9 }, bye: { code: 1, reason: "ö", reconnectInMs: 2000 },
      followed: { handle: 1, latE7: -337_000_000, lngE7: 1_799_999_999, id: "d", heardS: 4_000_000_000 },
      followedDelivery: { delivery: "ö", status: 9, lateRisk: true, etaMs: 1_795_000_000_000, promisedByMs: 1_795_000_000_001, gone: true },
      cells: [{
        cell: CELL, whole: false, originLatE7: -2_147_483_648, originLngE7: 2_147_483_647,
        enters: [{ handle: 9_007_199_254_740_991, dlatE7: -5, dlngE7: 6, meta: 0xffffffff, driver: true, id: "courier-1", aboard: 300, heardS: 2 }],
        moves: [1, 1, 1, 2, 0x80000001, 5, 1, 4_294_967_294, 4_294_967_295, 2],
        leaves: [{ handle: 3, ended: 9, gone: true }], counts: [{ status: 6, markers: 70_000 }], entries: 0, checksum: 0xdeadbeef,
      }],
    }));
    expect(frame).toEqual({
      tick: 4_000_000_000_123, ageMs: 4_294_967_295, dropped: [BigInt(CELL), 1n], reset: true, viewId: 7, level: { h3Resolution: 8, counts: true, coarsened: true },
      hello: { epoch: 18446744073709551615n, tickMs: 100, pingS: 25, serverVersion: "0.1.0", serverTimeMs: 1_795_000_000_000 },
      lag: { behind: true, mergedTicks: 9 }, bye: { code: 1, reason: "ö", reconnectInMs: 2000 },
      followed: { handle: 1, dlatE7: 0, dlngE7: 0, meta: 0, driver: false, id: "d", aboard: 0, latE7: -337_000_000, lngE7: 1_799_999_999, heardS: 4_000_000_000 },
      followedDelivery: { delivery: "ö", status: 9, lateRisk: true, etaMs: 1_795_000_000_000, promisedByMs: 1_795_000_000_001, gone: true },
      cells: [{
        cell: BigInt(CELL), whole: false, originLatE7: -2_147_483_648, originLngE7: 2_147_483_647,
        enters: [{ handle: 9_007_199_254_740_991, dlatE7: -5, dlngE7: 6, meta: 0xffffffff, driver: true, id: "courier-1", aboard: 300, latE7: 0, lngE7: 0, heardS: 2 }],
        moves: { handle: [137_438_953_473, 137_438_953_478], dlatE7: [-1, 2_147_483_647], dlngE7: [1, -2_147_483_648], meta: [0x80000001, 2] },
        leaves: [{ handle: 3, ended: 9, gone: true }], counts: [{ status: 6, markers: 70_000 }], entries: 0, checksum: 0xdeadbeef,
      }],
    });
  });

  test("an absent checksum is not a checksum of 0", () => {
    expect(decodeFrame(encode({ cells: [{ cell: 1 }] })).cells[0]).toMatchObject({ entries: null, checksum: null });
  });

  test("chunks that are joined after a header are one frame", () => {
    const joined = Uint8Array.from([...encode({ tick: 2, viewId: 3 }), ...encode({ cells: [{ cell: 1 }] }), ...encode({ cells: [{ cell: 2 }] })]);
    const frame = decodeFrame(joined);
    expect([frame.tick, frame.viewId, frame.cells.map((cell) => cell.cell)]).toEqual([2, 3, [1n, 2n]]);
  });

  test("skips fields of a later version", () => {
    const unknown = [0xf8, 0x07, 0x96, 0x01, 0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8, 0xfa, 0x07, 2, 9, 9, 0xfd, 0x07, 1, 2, 3, 4];
    expect(decodeFrame(Uint8Array.from([...unknown, ...encode({ tick: 8 }), ...unknown])).tick).toBe(8);
  });

  test("every cut of a frame is refused or shorter, and never reads beyond its end", () => {
    const bytes = encode({ tick: 1, cells: [{ cell: CELL, enters: [{ handle: 5, id: "abc" }], moves: [1, 0, 1, 1, 1] }] });
    const whole = JSON.stringify(decodeFrame(bytes), (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
    for (let end = 0; end < bytes.length; end += 1) {
      try {
        const cut = JSON.stringify(decodeFrame(bytes.subarray(0, end)), (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
        expect(cut).not.toBe(whole);
      } catch (error) {
        expect(error).toBeInstanceOf(WireError);
      }
    }
  });

  test("the top byte of meta is the deliveries aboard and, above them, late risk", () => {
    expect([0x05000006, 0xff000006, 0x7f000006, 6].map((meta) => [aboardOf(meta), isLateRisk(meta)])).toEqual([[5, false], [127, true], [127, false], [0, false]]);
    // As the store holds it after arithmetic on words.
    expect([aboardOf(0x85000000 | 0), isLateRisk(0x85000000 | 0)]).toEqual([5, true]);
  });

  test("moves of other than five numbers each are refused", () => {
    expect(() => decodeFrame(encode({ cells: [{ moves: [1, 0, 1, 1, 1, 2] }] }))).toThrow(WireError);
  });
});

describe("encodeClientMessage", () => {
  const decoded = (message: Parameters<typeof encodeClientMessage>[0]): object =>
    ClientMessage.toObject(ClientMessage.decode(encodeClientMessage(message)), { longs: String, enums: Number, arrays: true });
  const view = { west: 11.9, south: -57.6, east: -0.5, north: 57.8, zoom: 13.25, filter: { statuses: [5, 12, 0], drivers: ["ä", "b"], tags: [], lateRisk: false }, viewId: 4_000_000_000 };
  const asRead = { west: 11.9, south: -57.6, east: -0.5, north: 57.8, zoom: 13.25, filter: { statuses: [5, 12, 0], drivers: ["ä", "b"], tags: [] }, viewId: 4_000_000_000 };

  test("each kind is what the schema says", () => {
    expect(decoded({ kind: "auth", token: "wp_1" })).toEqual({ auth: { token: "wp_1" } });
    expect(decoded({ kind: "view", view })).toEqual({ view: asRead });
    expect(decoded({ kind: "follow", delivery: "d-1" })).toEqual({ follow: { delivery: "d-1" } });
    expect(decoded({ kind: "follow", delivery: "" })).toEqual({ follow: {} });
    expect(decoded({ kind: "ack", tick: 2 ** 40 + 1 })).toEqual({ ack: { tick: String(2 ** 40 + 1) } });
    expect(decoded({ kind: "resume", sources: [{ epoch: 2n ** 64n - 2n, tick: 300 }], view, level: 6 })).toEqual({
      resume: { sources: [{ epoch: "18446744073709551614", tick: "300" }], view: asRead, level: 6 },
    });
  });

  test("tags and late risk are the fields 3 and 4 of a filter", () => {
    // filter { tags "a=1", tags "b", late_risk }, view_id 4
    const view = { west: 0, south: 0, east: 0, north: 0, zoom: 0, filter: { statuses: [], drivers: [], tags: ["a=1", "b"], lateRisk: true }, viewId: 4 };
    expect([...encodeClientMessage({ kind: "view", view })]).toEqual([0x12, 14, 0x32, 10, 0x1a, 3, 0x61, 0x3d, 0x31, 0x1a, 1, 0x62, 0x20, 1, 0x38, 4]);
  });

  test("no filter is no field", () => {
    expect(decoded({ kind: "view", view: { ...view, filter: { statuses: [], drivers: [], tags: [], lateRisk: false } } })).not.toHaveProperty("view.filter");
  });
});
