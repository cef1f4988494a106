/** What the dashboard holds of the map, and how a frame changes it. Pure: knows no socket, no screen and no clock. */

import { ABOARD_FULL, aboardOf, type Cell, type Count, type Enter, type Frame, type Level } from "./wire";

export interface Marker {
  readonly handle: number;
  cell: bigint;
  latE7: number;
  lngE7: number;
  meta: number;
  driver: boolean;
  id: string;
  aboard: number;
  /** When it was last heard of, by our own clock. */
  heardMs: number;
}

export interface CountCell {
  originLatE7: number;
  originLngE7: number;
  counts: Count[];
}

/** Latitude and longitude in 1e-7 degrees. */
type Origin = readonly [number, number];

/** For each cell: it has markers (`handles`) or counts. */
export interface State {
  /** The last tick that is in here, and the epoch that it is a tick of. */
  epoch: bigint;
  tick: number;
  /** The epoch of the connection under way: its first frame makes it ours. */
  greeted: bigint;
  viewId: number;
  level: Level | null;
  markers: Map<number, Marker>;
  handles: Map<bigint, Set<number>>;
  /** What the positions of a cell are told against. */
  origins: Map<bigint, Origin>;
  counts: Map<bigint, CountCell>;
  followed: Marker | null;
  /** How often a cell's content did not have the checksum that the server said, or a move was of what is not held; never goes down. */
  mismatches: number;
}

/** What a frame changed, for those who draw. A marker that went from one cell to another is in `moved`. */
export interface Changes {
  reset: boolean;
  entered: Marker[];
  moved: Marker[];
  left: Marker[];
  counts: boolean;
  /** False when the two sides disagree: what is held must be sent anew. */
  right: boolean;
}

export function emptyState(mismatches = 0): State {
  return {
    epoch: 0n, tick: 0, greeted: 0n, viewId: 0, level: null, markers: new Map(), handles: new Map(), counts: new Map(), origins: new Map(), followed: null, mismatches,
  };
}

/** Applies a whole frame: `reset` first, then `dropped`, then `cells`. A frame of tick 0 carries no map content. */
export function apply(state: State, frame: Frame, nowMs: number): Changes {
  const diff = new Diff(state);
  if (frame.hello) state.greeted = frame.hello.epoch;
  if (frame.tick === 0) return diff.changes();
  if (frame.reset) {
    diff.changed = state.counts.size > 0;
    for (const marker of state.markers.values()) diff.removed(marker);
    state.markers.clear();
    state.handles.clear();
    state.counts.clear();
    state.origins.clear();
  }
  for (const cell of frame.dropped) forget(state, cell, diff);
  for (const cell of frame.cells) applyCell(state, cell, diff, nowMs);
  // Checksums are of the whole frame's outcome: a marker may have gone from one cell to another within it.
  for (const cell of frame.cells) if (!checks(state, cell)) state.mismatches += 1;
  if (frame.followed) state.followed = absolute(frame.followed, nowMs);
  if (frame.followedDelivery?.gone) state.followed = null;
  // Together: an old tick under a new epoch would claim in a resume what was never sent.
  [state.epoch, state.tick] = [state.greeted, frame.tick];
  state.viewId = frame.viewId;
  state.level = frame.level ?? state.level;
  return diff.changes();
}

/** Markers before and after, so that one which left and came back within a frame is a move. */
class Diff {
  changed = false;
  private readonly before = new Map<number, Marker>();
  private readonly touched = new Set<number>();
  private readonly mismatchesBefore: number;

  constructor(private readonly state: State) {
    this.mismatchesBefore = state.mismatches;
  }

  removed(marker: Marker): void {
    if (!this.touched.has(marker.handle)) this.before.set(marker.handle, marker);
    this.touched.add(marker.handle);
  }

  put(handle: number, before: Marker | undefined): void {
    if (before && !this.touched.has(handle)) this.before.set(handle, before);
    this.touched.add(handle);
  }

  changes(): Changes {
    const out: Changes = { reset: false, entered: [], moved: [], left: [], counts: this.changed, right: this.state.mismatches === this.mismatchesBefore };
    for (const handle of this.touched) {
      const before = this.before.get(handle);
      const after = this.state.markers.get(handle);
      if (after) (before ? out.moved : out.entered).push(after);
      else if (before) out.left.push(before);
    }
    return out;
  }
}

function forget(state: State, cell: bigint, diff: Diff): void {
  if (state.counts.delete(cell)) diff.changed = true;
  state.origins.delete(cell);
  const handles = state.handles.get(cell);
  if (!handles) return;
  for (const handle of handles) {
    const marker = state.markers.get(handle);
    if (marker) diff.removed(marker);
    state.markers.delete(handle);
  }
  state.handles.delete(cell);
}

function applyCell(state: State, cell: Cell, diff: Diff, nowMs: number): void {
  if (cell.whole) forget(state, cell.cell, diff);
  if (cell.originLatE7 !== null && cell.originLngE7 !== null) state.origins.set(cell.cell, [cell.originLatE7, cell.originLngE7]);
  const origin = state.origins.get(cell.cell);
  if (!origin) {
    // A difference of what was never told whole says that the two sides disagree.
    state.mismatches += 1;
    return;
  }
  for (const enter of cell.enters) {
    const marker = fromEnter(enter, cell.cell, origin[0] + enter.dlatE7, wrapE7(origin[1] + enter.dlngE7), nowMs);
    const old = state.markers.get(enter.handle);
    if (old && old.cell !== cell.cell) unlink(state, old);
    diff.put(enter.handle, old);
    state.markers.set(enter.handle, marker);
    let handles = state.handles.get(cell.cell);
    if (!handles) state.handles.set(cell.cell, (handles = new Set()));
    handles.add(enter.handle);
  }
  if (cell.moves) applyMoves(state, cell, origin, diff, nowMs);
  for (const leave of cell.leaves) {
    const marker = state.markers.get(leave.handle);
    if (marker?.cell !== cell.cell) continue;
    diff.removed(marker);
    state.markers.delete(leave.handle);
    unlink(state, marker);
  }
  if (cell.counts.length > 0) {
    state.counts.set(cell.cell, { originLatE7: origin[0], originLngE7: origin[1], counts: cell.counts });
    diff.changed = true;
  }
}

function applyMoves(state: State, cell: Cell, origin: Origin, diff: Diff, nowMs: number): void {
  const moves = cell.moves;
  if (!moves) return;
  for (let i = 0; i < moves.handle.length; i += 1) {
    const marker = state.markers.get(moves.handle[i] ?? 0);
    if (marker?.cell !== cell.cell) {
      // Only what is held can move; anything else says that the two sides disagree.
      state.mismatches += 1;
      continue;
    }
    diff.put(marker.handle, marker);
    marker.latE7 = origin[0] + (moves.dlatE7[i] ?? 0);
    marker.lngE7 = wrapE7(origin[1] + (moves.dlngE7[i] ?? 0));
    marker.meta = moves.meta[i] ?? 0;
    const aboard = aboardOf(marker.meta);
    if (aboard < ABOARD_FULL) marker.aboard = aboard;
    // A marker also changes because it fell silent: that is no word from it.
    if (((marker.meta >>> 4) & 3) === 0) marker.heardMs = nowMs;
  }
}

function unlink(state: State, marker: Marker): void {
  const handles = state.handles.get(marker.cell);
  handles?.delete(marker.handle);
  if (handles?.size === 0) state.handles.delete(marker.cell);
}

function fromEnter(enter: Enter, cell: bigint, latE7: number, lngE7: number, nowMs: number): Marker {
  const { handle, meta, driver, id, aboard, heardS } = enter;
  return { handle, cell, latE7, lngE7, meta: meta >>> 0, driver, id, aboard, heardMs: nowMs - heardS * 1000 };
}

function absolute(enter: Enter, nowMs: number): Marker {
  return fromEnter(enter, 0n, enter.latE7, enter.lngE7, nowMs);
}

const TURN_E7 = 3_600_000_000;

export function wrapE7(lngE7: number): number {
  if (lngE7 >= TURN_E7 / 2) return lngE7 - TURN_E7;
  return lngE7 < -TURN_E7 / 2 ? lngE7 + TURN_E7 : lngE7;
}

// ------------------------------------------------------------------------------------------------ checksums

function checks(state: State, cell: Cell): boolean {
  if (cell.entries === null || cell.checksum === null) return true;
  let entries = 0;
  let sum = 0;
  for (const handle of state.handles.get(cell.cell) ?? []) {
    const marker = state.markers.get(handle);
    if (!marker) return false;
    entries += 1;
    sum = (sum + checksumOf(handle, marker.latE7, marker.lngE7, marker.meta)) | 0;
  }
  for (const row of state.counts.get(cell.cell)?.counts ?? []) {
    entries += 1;
    sum = (sum + checksumOf(row.status, 0, 0, row.markers)) | 0;
  }
  return entries === cell.entries && sum >>> 0 === cell.checksum;
}

/** An entry's share of its cell's checksum, as ARCHITECTURE.md ("Cell checksum") defines it. */
export function checksumOf(handle: number, latE7: number, lngE7: number, meta: number): number {
  let hash = mix((handle >>> 0) ^ 0x9e3779b9);
  hash = mix(hash ^ Math.floor(handle / 4294967296));
  hash = mix(hash ^ latE7);
  hash = mix(hash ^ lngE7);
  return mix(hash ^ meta) >>> 0;
}

function mix(hash: number): number {
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
