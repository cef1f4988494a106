/** What is merged and where it then stands. */
import { expect, test } from "vitest";
import { circlesOf } from "./merge";
import type { CountCell } from "./store";

const cell = (latE7: number, lngE7: number, ...counts: [number, number][]): CountCell => ({
  originLatE7: latE7, originLngE7: lngE7, counts: counts.map(([status, markers]) => ({ status, markers })),
});

test("circles that overlap become one, among their markers, and far ones stay apart", () => {
  const cells = new Map([
    [1n, cell(577_000_000, 119_000_000, [3, 30])],
    [2n, cell(578_000_000, 119_000_000, [3, 60], [5, 10])],
    [3n, cell(597_000_000, 119_000_000, [5, 1])],
  ]);
  expect(circlesOf(cells, 512 * 2 ** 7)).toMatchObject([
    { cell: 2n, latE7: 577_700_000, lngE7: 119_000_000, total: 100, counts: new Map([[3, 90], [5, 10]]) },
    { cell: 3n, latE7: 597_000_000, lngE7: 119_000_000, total: 1, counts: new Map([[5, 1]]) },
  ]);
  expect(circlesOf(cells, 512 * 2 ** 12)).toHaveLength(3);
});

test("across 180 degrees they are neighbours", () => {
  const cells = new Map([[1n, cell(0, 1_799_000_000, [1, 3])], [2n, cell(0, -1_799_000_000, [1, 1])]]);
  expect(circlesOf(cells, 512 * 2 ** 4)).toMatchObject([{ total: 4, lngE7: 1_799_500_000 }]);
});
