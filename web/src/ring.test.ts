/** When a box is asked for and how large it is. */
import { describe, expect, test } from "vitest";
import { EVERYTHING, filterOf } from "./filter";
import { Lookout } from "./lookout";
import { ahead, around, type Asked, type Held, isOff, isUsedUp, type Screen, shareFor, speedOf, wrapped } from "./ring";

const screen = (over: Partial<Screen> = {}): Screen => ({ west: 10, south: 50, east: 12, north: 51, zoom: 13.5, ...over });
const asked = (share: number, of = screen()): Asked => ({ screen: of, box: around(of, share), share });
const panned = (by: number): Screen => screen({ west: 10 + by, east: 12 + by });

describe("the ring", () => {
  test("lies on each side and is said as the server wants it", () => {
    expect(around(screen(), 0.25)).toEqual({ west: 9.5, south: 49.75, east: 12.5, north: 51.25 });
    expect(wrapped({ west: 179, south: -91, east: 181, north: 95 })).toEqual({ west: 179, south: -90, east: -179, north: 90 });
    expect(wrapped({ west: -200, south: 0, east: 170, north: 1 })).toMatchObject({ west: -180, east: 180 });
  });

  test("is asked for anew well before its edge is seen, and not for each pixel", () => {
    expect(isUsedUp(panned(0.1), asked(0.3))).toBe(false);
    expect(isUsedUp(panned(0.2), asked(0.3))).toBe(true);
    expect(isUsedUp(panned(-0.2), asked(0.3))).toBe(true);
    expect(isOff(panned(0.1), asked(0.3))).toBe(true);
    expect(isOff(panned(0.02), asked(0.3))).toBe(false);
  });

  test("reaches farther towards where the map goes, and no farther than that", () => {
    const speed = speedOf(panned(0), panned(0.1), 100);
    expect(speed[0]).toBeCloseTo(0.0005);
    const box = ahead(screen(), 0.25, [0.0005, -0.01]);
    expect(box.west).toBe(9.5);
    expect(box.east).toBeCloseTo(12.5 + 0.6);
    expect(box.south).toBeCloseTo(49.75 - 0.4);
    expect(ahead(screen(), 0, [0.0005, 0])).toEqual(around(screen(), 0));
    expect(speedOf(panned(0), panned(5), 100)).toEqual([0, 0]);
  });

  test("without a ring every move asks", () => {
    expect(isUsedUp(screen(), asked(0))).toBe(false);
    expect(isUsedUp(panned(0.001), asked(0))).toBe(true);
  });

  test("another level of detail asks at once, zooming in a little does not", () => {
    expect(isUsedUp(screen({ zoom: 12.99 }), asked(0.3))).toBe(true);
    expect(isUsedUp({ ...around(screen(), -0.1), zoom: 13.8 }, asked(0.3))).toBe(false);
    expect(isOff({ ...around(screen(), -0.2), zoom: 14.3 }, asked(0.3))).toBe(true);
  });

  test("is as wide as the server's limits leave room for", () => {
    const wide = asked(0.3);
    const of = (held: Held): number => shareFor(screen(), wide, held);
    expect(shareFor(screen(), null, { cells: 0, markers: 0 })).toBe(0.3);
    expect(of({ cells: 10, markers: 100 })).toBe(0.3);
    // 2.56 screens hold them: so one screen has a 2.56th.
    expect(of({ cells: 512, markers: 0 })).toBeCloseTo((Math.sqrt(400 / 200) - 1) / 2);
    expect(of({ cells: 0, markers: 15_000 * 2.56 })).toBe(0);
    expect(shareFor(screen({ zoom: 12 }), wide, { cells: 5_000, markers: 0 })).toBe(0.3);
  });
});

describe("the lookout", () => {
  const level = (coarsened: boolean) => ({ h3Resolution: 6, counts: false, coarsened });
  function played(): { at: Screen; now: number; boxes: { west: number; east: number }[]; lookout: Lookout } {
    const world = { at: screen(), now: 0, boxes: [] as { west: number; east: number }[], lookout: null as unknown as Lookout };
    world.lookout = new Lookout({
      screen: () => world.at, held: () => ({ cells: 20, markers: 100 }), filter: () => filterOf(EVERYTHING), ask: (view) => world.boxes.push(view), now: () => world.now,
    });
    return world;
  }

  test("asks a few times a screen during a pan and once more at its end", () => {
    const world = played();
    for (let step = 0; step <= 100; step += 1) {
      world.at = panned(step * 0.02);
      world.now = step * 16;
      world.lookout.moved();
    }
    const during = world.boxes.length;
    expect(during).toBeGreaterThan(8);
    expect(during).toBeLessThan(15);
    world.at = panned(2.1);
    world.lookout.rests();
    world.lookout.rests();
    expect(world.boxes.length).toBe(during + 1);
  });

  test("gives up the ring where it costs detail, and asks for it again elsewhere", () => {
    const world = played();
    world.lookout.look();
    world.lookout.answered(1, level(true));
    expect(world.boxes).toMatchObject([{ west: 9.4, east: 12.6 }, { west: 10, east: 12 }]);
    world.lookout.answered(1, level(true));
    world.lookout.answered(2, level(true));
    expect(world.boxes.length).toBe(2);
    world.at = panned(0.5);
    world.lookout.moved();
    expect(world.boxes.at(-1)).toMatchObject({ west: 10.5, east: 12.5 });
    world.at = panned(4);
    world.lookout.moved();
    expect(world.boxes.at(-1)).toMatchObject({ west: 13.4, east: 16.6 });
  });
});
