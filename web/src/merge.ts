/** Counts that would be drawn over each other become one circle. Pure; never touches the map. */

import { mercatorX, mercatorY, wrapTurn } from "./mercator";
import { type CountCell, wrapE7 } from "./store";

export interface Circle {
  /** The cell with the most markers in it, so that a circle stays itself while its numbers change. */
  readonly cell: bigint;
  latE7: number;
  lngE7: number;
  /** In mercator: each is compared with many. */
  x: number;
  y: number;
  total: number;
  /** Markers by status. */
  readonly counts: Map<number, number>;
}

/** `worldPx`: how wide the whole world is at this zoom. */
export function circlesOf(cells: ReadonlyMap<bigint, CountCell>, worldPx: number): Circle[] {
  const circles: Circle[] = [];
  const singles = [...cells].map(([cell, { originLatE7, originLngE7, counts }]): Circle => ({
    cell, latE7: originLatE7, lngE7: originLngE7, x: mercatorX(originLngE7), y: mercatorY(originLatE7), total: counts.reduce((sum, row) => sum + row.markers, 0), counts: new Map(counts.map((row) => [row.status, row.markers])),
  }));
  singles.sort((a, b) => b.total - a.total || (a.cell < b.cell ? -1 : 1));
  for (const single of singles) {
    const over = circles.find((circle) => gapPx(circle, single, worldPx) < 0);
    if (over) take(over, single);
    else circles.push(single);
  }
  return circles;
}

export function diameterPx(total: number): number {
  return Math.round(Math.min(84, 34 + 10 * Math.log10(Math.max(1, total))));
}

/** Between the rims; below zero when they overlap. */
function gapPx(a: Circle, b: Circle, worldPx: number): number {
  const dx = wrapTurn(a.x - b.x);
  const dy = a.y - b.y;
  return Math.hypot(dx, dy) * worldPx - (diameterPx(a.total) + diameterPx(b.total)) / 2;
}

function take(into: Circle, other: Circle): void {
  const share = other.total / (into.total + other.total);
  into.latE7 += (other.latE7 - into.latE7) * share;
  into.lngE7 = wrapE7(into.lngE7 + wrapE7(other.lngE7 - into.lngE7) * share);
  [into.x, into.y] = [mercatorX(into.lngE7), mercatorY(into.latE7)];
  into.total += other.total;
  for (const [status, markers] of other.counts) into.counts.set(status, (into.counts.get(status) ?? 0) + markers);
}
