/** The box that is asked for: the screen with a ring around it, and when that ring is used up. Pure; knows no map and no socket. */

/** Degrees, unwrapped: west < east, and both may lie beyond 180. */
export interface Box {
  readonly west: number;
  readonly south: number;
  readonly east: number;
  readonly north: number;
}

export interface Screen extends Box {
  readonly zoom: number;
}

/** What was asked for last: around which screen and with how much on each side, as a share of the screen. */
export interface Asked {
  readonly screen: Screen;
  readonly box: Box;
  readonly share: number;
}

/** How much is held of what was asked for. */
export interface Held {
  readonly cells: number;
  readonly markers: number;
}

/** A person pans a screen in two seconds: this is more than half a second of that, and there and back over a slow line. */
const WIDEST = 0.3;
/** A ring that is no wider than this is not worth its bytes. */
const NARROWEST = 0.05;
/** The server shows a coarser level above 512 cells or 20,000 markers a view; some way from there, since what is held is not what will be. */
const CELLS = 400;
const MARKERS = 16_000;
/** While it moves, what lies ahead within this time is asked for as well, up to so many screens. */
const AHEAD_MS = 600;
const FARTHEST_AHEAD = 0.4;
/** Asked anew when this share of the ring is used up on any side: early, for the answer takes a tick and a way. */
const USED = 0.3;
/** Zoomed in by this much, what was asked for is far more than what is seen. */
const ZOOMED_IN = 1.2;

/** Which level of detail a zoom is shown at: the server's thresholds. */
export function bracket(zoom: number): number {
  return zoom >= 13 ? 0 : zoom >= 10 ? 1 : zoom >= 7 ? 2 : zoom >= 4 ? 3 : 4;
}

export function around(screen: Screen, share: number): Box {
  const [dx, dy] = [(screen.east - screen.west) * share, (screen.north - screen.south) * share];
  return { west: screen.west - dx, south: screen.south - dy, east: screen.east + dx, north: screen.north + dy };
}

/** The box around this screen of a map that moves by so many screens a millisecond: wider towards where it goes. */
export function ahead(screen: Screen, share: number, [eastward, northward]: readonly [number, number]): Box {
  const box = around(screen, share);
  if (share === 0) return box;
  const by = (speed: number, size: number): number => Math.max(-FARTHEST_AHEAD, Math.min(FARTHEST_AHEAD, speed * AHEAD_MS)) * size;
  const [dx, dy] = [by(eastward, screen.east - screen.west), by(northward, screen.north - screen.south)];
  return { west: box.west + Math.min(0, dx), south: box.south + Math.min(0, dy), east: box.east + Math.max(0, dx), north: box.north + Math.max(0, dy) };
}

/** How fast a map moves that showed `before` some time ago, in screens a millisecond; nothing is told by a jump. */
export function speedOf(before: Screen, now: Screen, passedMs: number): readonly [number, number] {
  if (passedMs <= 0 || screensApart(before, now) > 1) return [0, 0];
  const middle = (a: number, b: number, c: number, d: number): number => (a + b - c - d) / 2;
  return [
    middle(now.west, now.east, before.west, before.east) / (now.east - now.west) / passedMs,
    middle(now.south, now.north, before.south, before.north) / (now.north - now.south) / passedMs,
  ];
}

/** How wide a ring the server's limits leave room for, judged by how dense what is held is. Zero is none. */
export function shareFor(screen: Screen, asked: Asked | null, held: Held): number {
  if (!asked) return WIDEST;
  const screens = area(asked.box) / area(screen);
  const cells = bracket(asked.screen.zoom) === bracket(screen.zoom) ? held.cells / screens : 0;
  const room = Math.min(CELLS / cells, MARKERS / (held.markers / screens));
  const share = Math.min(WIDEST, (Math.sqrt(room) - 1) / 2);
  return share < NARROWEST ? 0 : share;
}

/** Whether the map has moved or zoomed so far that the box must be asked for anew while it still moves. */
export function isUsedUp(screen: Screen, asked: Asked): boolean {
  if (bracket(screen.zoom) !== bracket(asked.screen.zoom)) return true;
  if (asked.share === 0) return !sameBox(screen, asked.screen);
  return screen.zoom - asked.screen.zoom > ZOOMED_IN || margin(screen, asked) < 1 - USED;
}

/** Whether, now that the map rests, a box around this place would be another one worth asking for. */
export function isOff(screen: Screen, asked: Asked): boolean {
  return isUsedUp(screen, asked) || margin(screen, asked) < 0.9 || Math.abs(screen.zoom - asked.screen.zoom) > 0.3;
}

/** What is left of the ring on the side where least is left, in rings; what was asked for ahead is not counted on. */
function margin(screen: Screen, { screen: before, share }: Asked): number {
  const box = around(before, share);
  const [width, height] = [(screen.east - screen.west) * share, (screen.north - screen.south) * share];
  return Math.min((screen.west - box.west) / width, (box.east - screen.east) / width, (screen.south - box.south) / height, (box.north - screen.north) / height);
}

/** By how many screens two screens are apart, on the axis where they are farther. */
export function screensApart(a: Screen, b: Screen): number {
  return Math.max(Math.abs(a.west + a.east - b.west - b.east) / (a.east - a.west), Math.abs(a.south + a.north - b.south - b.north) / (a.north - a.south)) / 2;
}

/** As the server wants it said: west may be greater than east, the whole world is from -180 to 180. */
export function wrapped({ west, south, east, north }: Box): Box {
  const whole = east - west >= 360;
  const wrap = (lng: number): number => (lng >= -180 && lng <= 180 ? lng : ((((lng + 180) % 360) + 360) % 360) - 180);
  return { west: whole ? -180 : wrap(west), south: Math.max(-90, south), east: whole ? 180 : wrap(east), north: Math.min(90, north) };
}

function sameBox(a: Box, b: Box): boolean {
  return a.west === b.west && a.south === b.south && a.east === b.east && a.north === b.north;
}

function area({ west, south, east, north }: Box): number {
  return (east - west) * (north - south);
}
