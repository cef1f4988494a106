/** Counts of cells at low zoom: circles with a number and a ring of what they are. Never counts anything itself. */

import { Marker as Pin, type Map as MapLibre } from "maplibre-gl";
import { GROUPS, groupIndex } from "./status";
import type { CountCell } from "./store";
import type { Count } from "./wire";

interface Shown {
  pin: Pin;
  signature: string;
}

export class Clusters {
  private readonly shown = new Map<bigint, Shown>();

  constructor(private readonly map: MapLibre, private readonly onOpen: (lng: number, lat: number) => void) {}

  /** Shows exactly these cells. */
  async show(cells: ReadonlyMap<bigint, CountCell>): Promise<void> {
    const centre = await centres(cells);
    for (const [cell, { pin }] of this.shown) {
      if (cells.has(cell)) continue;
      pin.remove();
      this.shown.delete(cell);
    }
    for (const [cell, { counts }] of cells) {
      const signature = counts.map((row) => `${row.status}:${row.markers}`).join();
      const known = this.shown.get(cell);
      if (known?.signature === signature) continue;
      const place = centre(cell);
      if (known) {
        draw(known.pin.getElement() as HTMLButtonElement, counts);
        known.signature = signature;
      } else if (place) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "cluster";
        button.onclick = () => this.onOpen(place[0], place[1]);
        draw(button, counts);
        this.shown.set(cell, { pin: new Pin({ element: button }).setLngLat(place).addTo(this.map), signature });
      }
    }
  }
}

/** Where each circle stands: the origin that the chunk names, else the centre that the cell's number implies. */
async function centres(cells: ReadonlyMap<bigint, CountCell>): Promise<(cell: bigint) => [number, number] | null> {
  const unnamed = [...cells.values()].some((cell) => cell.originLatE7 === 0 && cell.originLngE7 === 0);
  const h3 = unnamed ? await import("h3-js") : null;
  return (index) => {
    const cell = cells.get(index);
    if (!cell) return null;
    if (cell.originLatE7 !== 0 || cell.originLngE7 !== 0) return [cell.originLngE7 / 1e7, cell.originLatE7 / 1e7];
    const [lat, lng] = h3?.cellToLatLng(index.toString(16)) ?? [0, 0];
    return [lng, lat];
  };
}

function draw(button: HTMLButtonElement, counts: readonly Count[]): void {
  const byGroup = GROUPS.map(() => 0);
  let total = 0;
  for (const { status, markers } of counts) {
    total += markers;
    const group = groupIndex(status);
    byGroup[group] = (byGroup[group] ?? 0) + markers;
  }
  const size = clusterSize(total);
  button.style.width = button.style.height = `${size}px`;
  button.setAttribute("aria-label", `${total} here: ${GROUPS.flatMap((group, i) => (byGroup[i] ? [`${byGroup[i]} ${group.label.toLowerCase()}`] : [])).join(", ")}. Zoom in.`);
  button.innerHTML = `<svg viewBox="0 0 ${size} ${size}" aria-hidden="true">${ring(byGroup, total, size)}</svg><span class="num">${short(total)}</span>`;
}

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
      return `<circle class="g-${group.key}" cx="${size / 2}" cy="${size / 2}" r="${radius}" fill="none" stroke="currentColor" stroke-width="${width}" stroke-dasharray="${Math.max(0.8, length - gap).toFixed(2)} ${round.toFixed(2)}" stroke-dashoffset="${(-from).toFixed(2)}" transform="rotate(-90 ${size / 2} ${size / 2})"/>`;
    })
    .join("");
}

function clusterSize(total: number): number {
  return Math.round(Math.min(84, 34 + 10 * Math.log10(Math.max(1, total))));
}

export function short(total: number): string {
  if (total < 10_000) return total.toLocaleString("en");
  return total < 1_000_000 ? `${(total / 1000).toFixed(total < 100_000 ? 1 : 0)}k` : `${(total / 1e6).toFixed(1)}M`;
}
