import { expect, test } from "vitest";
import { Curtain } from "./curtain";
import { decodeFrame, type Frame } from "./wire";

const frame = (tick: number, parts: Partial<Frame> = {}): Frame => ({ ...decodeFrame(new Uint8Array()), tick, ...parts });
const behind = { behind: true, mergedTicks: 0 };
const caughtUp = { behind: false, mergedTicks: 3 };
const ticks = (frames: readonly Frame[]): number[] => frames.map(({ tick }) => tick);

test("a level that comes in one frame is shown at once", () => {
  const curtain = new Curtain();
  expect(ticks(curtain.take(frame(1, { reset: true }), false, 0))).toEqual([1]);
  expect(ticks(curtain.take(frame(2), false, 1))).toEqual([2]);
});

test("a level that comes in parts is shown when it is whole", () => {
  const curtain = new Curtain();
  expect(curtain.take(frame(1, { reset: true, lag: behind }), false, 0)).toEqual([]);
  expect(curtain.take(frame(2), false, 50)).toEqual([]);
  expect(ticks(curtain.take(frame(3, { lag: caughtUp }), false, 90))).toEqual([1, 2, 3]);
  expect(ticks(curtain.take(frame(4), false, 190))).toEqual([4]);
});

test("with nothing on the screen, or after a while, parts are shown as they come", () => {
  expect(ticks(new Curtain().take(frame(1, { reset: true, lag: behind }), true, 0))).toEqual([1]);
  const curtain = new Curtain();
  expect(curtain.take(frame(1, { reset: true, lag: behind }), false, 0)).toEqual([]);
  expect(ticks(curtain.take(frame(2), false, 1_600))).toEqual([1, 2]);
  expect(ticks(curtain.take(frame(3), false, 1_700))).toEqual([3]);
});

test("a third level replaces the second before it was shown, and does not begin the wait anew", () => {
  const curtain = new Curtain();
  expect(curtain.take(frame(1, { reset: true, lag: behind }), false, 0)).toEqual([]);
  expect(curtain.take(frame(2, { reset: true, lag: behind }), false, 1_000)).toEqual([]);
  expect(ticks(curtain.take(frame(3), false, 1_600))).toEqual([2, 3]);
});

test("another connection starts from what is shown", () => {
  const curtain = new Curtain();
  expect(curtain.take(frame(7, { reset: true, lag: behind }), false, 0)).toEqual([]);
  const hello = { epoch: 1n, tickMs: 100, pingS: 25, serverVersion: "", serverTimeMs: 0 };
  expect(ticks(curtain.take(frame(0, { hello }), false, 10))).toEqual([0]);
  expect(ticks(curtain.take(frame(8), false, 20))).toEqual([8]);
});
