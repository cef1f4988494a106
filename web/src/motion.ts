/** Where each marker is drawn at a moment: on its way from the last place to the newest. Pure; knows no WebGL. */

import { metresPerUnit, wrapTurn } from "./mercator";

/** Positions are mercator in doubles, times are milliseconds of the page's clock; one index is one marker. */
export interface Track {
  fromX: number;
  fromY: number;
  toX: number;
  toY: number;
  startMs: number;
  endMs: number;
  /** When its place last changed. */
  placedMs: number;
  fromHeading: number;
}

const SHORTEST_MS = 250;
const LONGEST_MS = 6_000;
/** After a longer silence the way in between is unknown, so it is not drawn slowly. */
const SILENCE_MS = 12_000;
const CATCH_UP_MS = 700;
const TELEPORT_MPS = 70;
const TELEPORT_M = 150;

export function standing(x: number, y: number, heading: number, nowMs: number): Track {
  return { fromX: x, fromY: y, toX: x, toY: y, startMs: nowMs, endMs: nowMs, placedMs: nowMs, fromHeading: heading };
}

export function progress(track: Track, nowMs: number): number {
  if (nowMs >= track.endMs) return 1;
  return Math.max(0, (nowMs - track.startMs) / (track.endMs - track.startMs));
}

export function placeAt(track: Track, nowMs: number): [number, number] {
  const t = progress(track, nowMs);
  return [track.fromX + (track.toX - track.fromX) * t, track.fromY + (track.toY - track.fromY) * t];
}

/** Sends the marker to a new place: as long as it took to hear of it, so that it is drawn one interval behind and never runs ahead. */
export function goTo(track: Track, x: number, y: number, nowMs: number, glide: boolean): void {
  const [hereX, hereY] = placeAt(track, nowMs);
  const silent = nowMs - track.placedMs;
  const toX = hereX + wrapTurn(x - hereX);
  const metres = Math.hypot(toX - hereX, y - hereY) * metresPerUnit(y);
  const lasts = silent > SILENCE_MS ? CATCH_UP_MS : Math.min(LONGEST_MS, Math.max(SHORTEST_MS, silent * 1.1));
  const jumps = !glide || (metres > TELEPORT_M && metres / (Math.max(silent, lasts) / 1000) > TELEPORT_MPS);
  track.fromX = jumps ? toX : hereX;
  track.fromY = jumps ? y : hereY;
  track.toX = toX;
  track.toY = y;
  track.startMs = nowMs;
  track.endMs = jumps ? nowMs : nowMs + lasts;
  track.placedMs = nowMs;
}
