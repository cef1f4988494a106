/** The base map's own arithmetic. */
import { expect, test, vi } from "vitest";

vi.mock("virtual:basemap", () => ({ roadsUrl: "", worldUrl: "" }));
const { roadLines, unwrap } = await import("./basemap");

test("a way's points are the sums of its differences, as longitude and latitude", () => {
  const { features } = roadLines([{ c: "trunk", p: [5_771_257, 1_199_545, 13, -27, -3, 7] }, { c: "motorway", p: [1, 2, 1, 1] }]);
  expect(features).toHaveLength(1);
  expect(features[0]?.properties).toEqual({ rank: "highway" });
  expect(features[0]?.geometry.coordinates[0]).toEqual([[11.99545, 57.71257], [11.99518, 57.7127], [11.99525, 57.71267]]);
});

test("a coast goes on beyond the antimeridian, and the pole's edge stays", () => {
  expect(unwrap([[179, 66], [-179, 67], [-178, 68], [178, 69]])).toEqual([[179, 66], [181, 67], [182, 68], [178, 69]]);
  expect(unwrap([[180, -90], [-180, -90]])).toEqual([[180, -90], [-180, -90]]);
});
