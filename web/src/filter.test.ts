/** A wish goes into the address and comes out of it, and nothing that the server refuses goes anywhere. */
import { expect, test } from "vitest";
import { canonical, EVERYTHING, filterOf, isEverything, isTag, sameWish, wishFrom, writeWish } from "./filter";

const written = (search: string, wish = EVERYTHING): string => {
  const params = new URLSearchParams(search);
  writeWish(params, wish);
  return params.toString();
};

test("a wish comes out of the address as it went in, and the rest of the address stays", () => {
  const wish = canonical({ groups: [6, 1], drivers: ["b, & c", "a"], tags: ["temperature=chilled", "a=b=c", "fragile"], lateRisk: true });
  const search = written("at=1/2/3&status=near&late=1", wish);
  expect(new URLSearchParams(search).get("at")).toBe("1/2/3");
  expect(wishFrom(search)).toEqual(wish);
  expect(wish.groups).toEqual([1, 6]);
  expect(written("at=1&status=near&driver=x&tag=y&late=1")).toBe("at=1");
});

test("what the server would refuse is passed over", () => {
  expect(wishFrom("?status=near,nonsense&driver=&driver=%0a&tag=%3Dx&late=yes")).toEqual({ ...EVERYTHING, groups: [4] });
  expect([isTag("a=b"), isTag("a"), isTag("="), isTag(""), isTag(`${"ä".repeat(33)}=1`), isTag(`a=${"x".repeat(257)}`)]).toEqual([true, true, false, false, false, false]);
  expect(canonical({ ...EVERYTHING, drivers: Array.from({ length: 400 }, (_, i) => `d${i}`) }).drivers.length).toBe(256);
});

test("all statuses are as good as none, and equal wishes are equal", () => {
  expect(isEverything(canonical({ ...EVERYTHING, groups: [0, 1, 2, 3, 4, 5, 6] }))).toBe(true);
  expect(sameWish({ ...EVERYTHING, drivers: ["b", "a"] }, { ...EVERYTHING, drivers: ["a", "b", "a "] })).toBe(true);
  expect(filterOf({ ...EVERYTHING, groups: [1, 3] }).statuses).toEqual([1, 2, 5, 6]);
});
