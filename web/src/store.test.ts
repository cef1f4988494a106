/** The rules of the schema's comments, one test a rule. */
import { describe, expect, test } from "vitest";
import { apply, checksumOf, emptyState, type State, wrapE7 } from "./store";
import { unpackMeta } from "./status";
import type { Cell, Enter, Frame } from "./wire";

const frame = (over: Partial<Frame>): Frame => ({
  cells: [], tick: 1, ageMs: 0, dropped: [], reset: false, viewId: 1, level: { h3Resolution: 8, counts: false, coarsened: false }, hello: null, lag: null, bye: null,
  followed: null, followedDelivery: null, ...over,
});
const cell = (id: bigint, over: Partial<Cell> = {}): Cell => ({
  cell: id, whole: false, originLatE7: 577_000_000, originLngE7: 119_000_000, enters: [], moves: null, leaves: [], counts: [], entries: null, checksum: null, ...over,
});
const enter = (handle: number, over: Partial<Enter> = {}): Enter => ({
  handle, dlatE7: handle, dlngE7: -handle, meta: 0, driver: true, id: `m${handle}`, aboard: 0, latE7: 0, lngE7: 0, heardS: 0, ...over,
});
const held = (state: State): Record<number, string> =>
  Object.fromEntries([...state.markers.values()].map((m) => [m.handle, `${m.cell}:${m.latE7},${m.lngE7}`]));
const handles = (list: readonly { handle: number }[]): number[] => list.map((marker) => marker.handle);

function with12(): State {
  const state = emptyState();
  apply(state, frame({ cells: [cell(1n, { whole: true, enters: [enter(1), enter(2)] })] }), 0);
  return state;
}

describe("apply", () => {
  test("a whole cell replaces what is held of it and of no other", () => {
    const state = with12();
    apply(state, frame({ cells: [cell(2n, { whole: true, enters: [enter(3)] })] }), 0);
    const changes = apply(state, frame({ cells: [cell(1n, { whole: true, enters: [enter(2)] })] }), 0);
    expect(Object.keys(held(state))).toEqual(["2", "3"]);
    expect([handles(changes.left), handles(changes.moved), handles(changes.entered)]).toEqual([[1], [2], []]);
  });

  test("a whole and empty cell is forgotten", () => {
    const state = with12();
    apply(state, frame({ cells: [cell(1n, { whole: true })] }), 0);
    expect([state.markers.size, state.handles.size]).toEqual([0, 0]);
  });

  test("an enter overwrites the handle in whatever cell it was, and the leave of the old cell then does not count", () => {
    for (const order of [[0, 1], [1, 0]]) {
      const state = with12();
      const cells = [cell(1n, { leaves: [{ handle: 1, ended: 0, gone: false }] }), cell(2n, { enters: [enter(1)] })];
      const changes = apply(state, frame({ cells: order.map((i) => cells[i] as Cell) }), 0);
      expect(state.markers.get(1)?.cell).toBe(2n);
      expect([handles(changes.moved), handles(changes.left), handles(changes.entered)]).toEqual([[1], [], []]);
      expect([...(state.handles.get(1n) ?? [])]).toEqual([2]);
    }
  });

  test("moves are absolute against the chunk's origin and keep the id", () => {
    const state = with12();
    const moves = { handle: [2], dlatE7: [10], dlngE7: [20], meta: [(3 << 24) | 6] };
    const changes = apply(state, frame({ cells: [cell(1n, { originLatE7: 1, originLngE7: 2, moves })] }), 500);
    expect(state.markers.get(2)).toMatchObject({ latE7: 11, lngE7: 22, id: "m2", aboard: 3, heardMs: 500 });
    expect(handles(changes.moved)).toEqual([2]);
  });

  test("a greeting from another epoch does not make what is held its own; its first frame does", () => {
    const state = with12();
    const hello = { epoch: 9n, tickMs: 100, pingS: 25, serverVersion: "test", serverTimeMs: 0 };
    apply(state, frame({ tick: 40 }), 0);
    apply(state, frame({ tick: 0, hello }), 0);
    expect([state.epoch, state.tick]).toEqual([0n, 40]);
    apply(state, frame({ tick: 2, reset: true }), 0);
    expect([state.epoch, state.tick]).toEqual([9n, 2]);
  });

  test("becoming stale is no word from the courier", () => {
    const state = with12();
    const moves = { handle: [2], dlatE7: [10], dlngE7: [20], meta: [2 << 4] };
    apply(state, frame({ cells: [cell(1n, { moves })] }), 90_000);
    expect(state.markers.get(2)?.heardMs).toBe(0);
  });

  test("bit 31 of meta is a risk of being late and no deliveries aboard, of which 127 are as many as it can say", () => {
    const state = with12();
    const told = (meta: number): number | undefined => {
      apply(state, frame({ cells: [cell(1n, { moves: { handle: [2], dlatE7: [0], dlngE7: [0], meta: [meta >>> 0] } })] }), 0);
      return state.markers.get(2)?.aboard;
    };
    expect([told((1 << 31) | (3 << 24)), told((1 << 31) | (127 << 24)), told(126 << 24)]).toEqual([3, 3, 126]);
    expect([unpackMeta((1 << 31) >>> 0).lateRisk, unpackMeta(0x7fffffff).lateRisk]).toEqual([true, false]);
  });

  test("a followed delivery that is gone takes its marker along", () => {
    const state = with12();
    const gone = { delivery: "d", status: 9, lateRisk: false, etaMs: null, promisedByMs: null, gone: true };
    apply(state, frame({ followed: enter(7), followedDelivery: { ...gone, gone: false } }), 0);
    expect(state.followed?.handle).toBe(7);
    apply(state, frame({ tick: 2, followedDelivery: gone }), 0);
    expect(state.followed).toBeNull();
  });

  test("longitudes wrap at the antimeridian", () => {
    const state = emptyState();
    apply(state, frame({ cells: [cell(1n, { originLngE7: 1_799_999_990, enters: [enter(1, { dlngE7: 20 })] })] }), 0);
    expect(state.markers.get(1)?.lngE7).toBe(-1_799_999_990);
    expect([wrapE7(1_800_000_000), wrapE7(-1_800_000_001)]).toEqual([-1_800_000_000, 1_799_999_999]);
  });

  test("a leave takes the marker away, and an empty cell with it", () => {
    const state = with12();
    const leaves = [1, 2].map((handle) => ({ handle, ended: 9, gone: true }));
    expect(handles(apply(state, frame({ cells: [cell(1n, { leaves })] }), 0).left)).toEqual([1, 2]);
    expect(state.handles.size).toBe(0);
  });

  test("reset comes before dropped before cells", () => {
    const state = with12();
    const changes = apply(state, frame({ reset: true, dropped: [3n], cells: [cell(3n, { whole: true, enters: [enter(2), enter(7)] })] }), 0);
    expect(held(state)).toEqual({ 2: "3:577000002,118999998", 7: "3:577000007,118999993" });
    expect([handles(changes.left), handles(changes.moved), handles(changes.entered)]).toEqual([[1], [2], [7]]);
  });

  test("a dropped cell's markers leave", () => {
    const state = with12();
    expect(handles(apply(state, frame({ dropped: [1n] }), 0).left)).toEqual([1, 2]);
  });

  test("counts are always complete, and go with their cell", () => {
    const state = emptyState();
    apply(state, frame({ cells: [cell(5n, { whole: true, counts: [{ status: 1, markers: 4 }] })] }), 0);
    apply(state, frame({ cells: [cell(5n, { whole: true, counts: [{ status: 6, markers: 9 }] })] }), 0);
    expect(state.counts.get(5n)?.counts).toEqual([{ status: 6, markers: 9 }]);
    expect(apply(state, frame({ cells: [cell(5n, { whole: true })] }), 0).counts).toBe(true);
    expect(state.counts.size).toBe(0);
  });

  test("a frame of tick 0 changes nothing held", () => {
    const state = with12();
    apply(state, frame({ tick: 0, reset: true, hello: { epoch: 9n, tickMs: 100, pingS: 25, serverVersion: "", serverTimeMs: 0 }, level: null }), 0);
    expect([state.markers.size, state.tick, state.epoch]).toEqual([2, 1, 0n]);
  });

  test("the checksum is the one that ARCHITECTURE.md defines", () => {
    // By an implementation in another language.
    expect(checksumOf(63 * 2 ** 37 + 12345, 577_088_701, -119_745_609, 0xff8100c6)).toBe(2489377780);
    expect(checksumOf(6, 0, 0, 70_000)).toBe(4099158299);
    expect(checksumOf(1, -337_000_000, 1_799_999_999, 0)).toBe(1690291474);
  });

  test("a checksum that differs is noticed, one that agrees is not, and both are of the whole frame's outcome", () => {
    const state = with12();
    const one = checksumOf(1, 577_000_001, 118_999_999, 0);
    const two = checksumOf(2, 577_000_002, 118_999_998, 0);
    apply(state, frame({ cells: [cell(1n, { entries: 2, checksum: (one + two) >>> 0 })] }), 0);
    expect(state.mismatches).toBe(0);
    apply(state, frame({ cells: [cell(1n, { entries: 1, checksum: one }), cell(2n, { enters: [enter(2)] })] }), 0);
    expect(state.mismatches).toBe(0);
    apply(state, frame({ cells: [cell(1n, { entries: 1, checksum: two })] }), 0);
    expect(state.mismatches).toBe(1);
  });

  test("a move of what is not held is noticed, and counted for good", () => {
    const state = with12();
    expect(apply(state, frame({}), 0).right).toBe(true);
    const changes = apply(state, frame({ cells: [cell(2n, { moves: { handle: [1], dlatE7: [0], dlngE7: [0], meta: [0] } })] }), 0);
    expect([state.mismatches, changes.right, apply(state, frame({ reset: true }), 0).right]).toEqual([1, false, true]);
    expect(emptyState(state.mismatches).mismatches).toBe(1);
  });
});

describe("a change of the level of detail", () => {
  /** All that is shown, as counts and as markers: each marker must be in exactly one of them. */
  const shown = (state: State): [number, number] => [state.markers.size, [...state.counts.values()].flatMap(({ counts }) => counts).reduce((sum, row) => sum + row.markers, 0)];
  const FLEET = 60;
  /** The fleet at a resolution, dealt out to cells that are of this resolution alone. */
  const whole = (resolution: number): Cell[] => {
    const cells = resolution === 8 ? 12 : resolution === 6 ? 4 : resolution === 4 ? 2 : 1;
    return Array.from({ length: cells }, (_, at) => {
      const mine = Array.from({ length: FLEET }, (_, i) => i + 1).filter((handle) => handle % cells === at);
      const id = BigInt(resolution * 100 + at);
      return resolution >= 6 ? cell(id, { whole: true, enters: mine.map((handle) => enter(handle)) }) : cell(id, { whole: true, counts: [{ status: 6, markers: mine.length }] });
    });
  };
  const levelOf = (resolution: number): Frame["level"] => ({ h3Resolution: resolution, counts: resolution < 6, coarsened: false });

  test("from any level to any other replaces the old picture within one frame: nothing is missing and nothing twice", () => {
    const state = emptyState();
    const drawn = new Map<number, number>();
    const levels = [8, 6, 4, 2, 1];
    const walk = levels.flatMap((from) => levels.flatMap((to) => [from, to]));
    walk.forEach((resolution, step) => {
      const changes = apply(state, frame({ tick: step + 1, reset: true, level: levelOf(resolution), cells: whole(resolution) }), 0);
      expect(shown(state)).toEqual(resolution >= 6 ? [FLEET, 0] : [0, FLEET]);
      // Whoever draws by the changes alone has the same markers, each once.
      for (const marker of changes.left) expect(drawn.delete(marker.handle)).toBe(true);
      for (const marker of changes.entered) {
        expect(drawn.has(marker.handle)).toBe(false);
        drawn.set(marker.handle, 1);
      }
      expect([...drawn.keys()].sort((a, b) => a - b)).toEqual([...state.markers.keys()].sort((a, b) => a - b));
      expect(state.handles.size + state.counts.size).toBe(whole(resolution).length);
      const clustersMayHaveChanged = resolution < 6 || (walk[step - 1] ?? 8) < 6;
      expect(changes.counts).toBe(clustersMayHaveChanged);
    });
  });

  test("until the frame comes the old picture stays, and changes of it that were under way still count", () => {
    const state = emptyState();
    apply(state, frame({ reset: true, level: levelOf(8), cells: whole(8) }), 0);
    apply(state, frame({ tick: 2, cells: [cell(801n, { leaves: [{ handle: 1, ended: 9, gone: true }] })] }), 0);
    expect(shown(state)).toEqual([FLEET - 1, 0]);
    apply(state, frame({ tick: 0, lag: { behind: true, mergedTicks: 0 } }), 0);
    expect(shown(state)).toEqual([FLEET - 1, 0]);
    apply(state, frame({ tick: 3, reset: true, level: levelOf(4), cells: whole(4) }), 0);
    expect(shown(state)).toEqual([0, FLEET]);
  });
});
