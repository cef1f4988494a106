/** How markers glide. */
import { expect, test } from "vitest";
import { mercatorX, mercatorY, metresPerUnit } from "./mercator";
import { goTo, placeAt, standing } from "./motion";

const y = mercatorY(577_000_000);
const x = mercatorX(119_000_000);
const east = (metres: number): number => x + metres / metresPerUnit(y);

test("a marker is where it was when the news came and where the news said after as long as the news took", () => {
  const track = standing(x, y, 0, 0);
  goTo(track, east(20), y, 2_000, true);
  expect(placeAt(track, 2_000)).toEqual([x, y]);
  expect(placeAt(track, 2_000 + 1_100)[0]).toBeCloseTo(east(10), 12);
  expect(placeAt(track, 4_200)).toEqual([east(20), y]);
  expect(placeAt(track, 99_000)).toEqual([east(20), y]);
});

test("news on the way continues from where it is drawn", () => {
  const track = standing(x, y, 0, 0);
  goTo(track, east(20), y, 2_000, true);
  const [here] = placeAt(track, 3_000);
  goTo(track, east(40), y, 3_000, true);
  expect(placeAt(track, 3_000)[0]).toBeCloseTo(here, 15);
});

test("what no courier can drive is a jump, and so is all motion where it is unwanted", () => {
  const track = standing(x, y, 0, 0);
  goTo(track, east(5_000), y, 2_000, true);
  expect(placeAt(track, 2_000)[0]).toBe(east(5_000));
  const still = standing(x, y, 0, 0);
  goTo(still, east(20), y, 2_000, false);
  expect(placeAt(still, 2_000)[0]).toBe(east(20));
});

test("the way across the antimeridian is the short one", () => {
  const track = standing(0.9999999, y, 0, 0);
  goTo(track, 0.0000001, y, 1_000, true);
  expect(track.toX).toBeCloseTo(1.0000001, 12);
});
