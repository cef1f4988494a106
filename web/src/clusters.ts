/** Counts of cells at low zoom: circles with a number and a ring of what they are. Never counts anything itself. */

import { Marker as Pin, type Map as MapLibre } from "maplibre-gl";
import { circlesOf, diameterPx } from "./merge";
import { GROUPS, groupIndex } from "./status";
import type { CountCell } from "./store";

/** One failed among hundreds is what is looked for, so its arc is never a hair. */
const LEAST_ARC_PX = 3;

interface Shown {
  pin: Pin;
  signature: string;
}

export class Clusters {
  private readonly shown = new Map<bigint, Shown>();

  /** Markers in all circles shown. */
  total = 0;
  private cells: ReadonlyMap<bigint, CountCell> = new Map();

  constructor(private readonly map: MapLibre, private readonly onOpen: (lng: number, lat: number) => void) {
    map.on("zoom", () => {
      if (this.cells.size > 0) this.show(this.cells);
    });
    map.on("moveend", () => this.keepReachable());
  }

  /** Shows exactly these cells, each where the server says that its markers are; what would overlap at this zoom is one circle. */
  show(cells: ReadonlyMap<bigint, CountCell>): void {
    this.cells = cells;
    const circles = circlesOf(cells, 512 * 2 ** this.map.getZoom());
    this.total = circles.reduce((sum, { total }) => sum + total, 0);
    const kept = new Set(circles.map(({ cell }) => cell));
    for (const [cell, { pin }] of this.shown) {
      if (kept.has(cell)) continue;
      pin.remove();
      this.shown.delete(cell);
    }
    for (const { cell, latE7, lngE7, counts } of circles) {
      const signature = [...counts].map((row) => row.join(":")).join();
      const place: [number, number] = [lngE7 / 1e7, latE7 / 1e7];
      const known = this.shown.get(cell) ?? this.add(cell, place);
      known.pin.setLngLat(place);
      if (known.signature === signature) continue;
      draw(known.pin.getElement() as HTMLButtonElement, counts);
      known.signature = signature;
    }
    if (!this.map.isMoving()) this.keepReachable();
  }

  /** The keyboard goes to what is on the screen, not to the ring that is held around it. */
  private keepReachable(): void {
    const bounds = this.map.getBounds();
    for (const { pin } of this.shown.values()) pin.getElement().tabIndex = bounds.contains(pin.getLngLat()) ? 0 : -1;
  }

  private add(cell: bigint, place: [number, number]): Shown {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "cluster";
    const pin = new Pin({ element: button }).setLngLat(place).addTo(this.map);
    button.onclick = () => {
      const { lng, lat } = pin.getLngLat();
      this.onOpen(lng, lat);
    };
    const shown = { pin, signature: "" };
    this.shown.set(cell, shown);
    return shown;
  }
}

function draw(button: HTMLButtonElement, counts: ReadonlyMap<number, number>): void {
  const byGroup = GROUPS.map(() => 0);
  let total = 0;
  for (const [status, markers] of counts) {
    total += markers;
    const group = groupIndex(status);
    byGroup[group] = (byGroup[group] ?? 0) + markers;
  }
  const size = diameterPx(total);
  button.style.width = button.style.height = `${size}px`;
  button.setAttribute("aria-label", `${total} here: ${GROUPS.flatMap((group, i) => (byGroup[i] ? [`${byGroup[i]} ${group.label.toLowerCase()}`] : [])).join(", ")}. Zoom in.`);
  button.innerHTML = `<svg viewBox="0 0 ${size} ${size}" aria-hidden="true">${ring(byGroup, total, size)}</svg><span class="num">${short(total)}</span>`;
}

/** An arc a group; the hollow ones among the shapes are thin here, for two of the groups share a colour. */
function ring(byGroup: readonly number[], total: number, size: number): string {
  const width = 4;
  const radius = size / 2 - width / 2 - 1;
  const round = 2 * Math.PI * radius;
  const gap = byGroup.filter((markers) => markers > 0).length > 1 ? 1.5 : 0;
  let at = 0;
  return byGroup
    .map((markers, index) => {
      const length = (markers / total) * round;
      const from = at;
      at += length;
      const group = GROUPS[index];
      if (markers === 0 || !group) return "";
      return `<circle class="g-${group.key}" cx="${size / 2}" cy="${size / 2}" r="${radius}" fill="none" stroke="currentColor" stroke-width="${group.shape === "ring" ? width / 2 : width}" stroke-dasharray="${Math.max(LEAST_ARC_PX, length - gap).toFixed(2)} ${round.toFixed(2)}" stroke-dashoffset="${(-from).toFixed(2)}" transform="rotate(-90 ${size / 2} ${size / 2})"/>`;
    })
    .join("");
}

export function short(total: number): string {
  if (total < 10_000) return total.toLocaleString("en");
  return total < 1_000_000 ? `${(total / 1000).toFixed(total < 100_000 ? 1 : 0)}k` : `${(total / 1e6).toFixed(1)}M`;
}
