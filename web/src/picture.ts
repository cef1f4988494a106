/** What is held and what is drawn of it, changed together by whole frames: the two never differ, so no marker is missing or twice between two levels of detail. Never asks the server. */

import type { Map as MapLibre, MapMouseEvent } from "maplibre-gl";
import { onScreen } from "./camera";
import { Clusters } from "./clusters";
import { MarkerLayer, radiusPx } from "./layer";
import { mercatorX, mercatorY } from "./mercator";
import { STATUS_COUNT } from "./status";
import { apply, type Changes, emptyState, type Marker, type State } from "./store";
import { palette } from "./theme";
import type { Frame } from "./wire";

/** How far from a marker's edge a click still means it. */
const REACH_PX = 8;

export class Picture {
  state: State = emptyState();
  readonly layer = new MarkerLayer(palette());
  readonly clusters: Clusters;
  private frames = 0;
  private moved = 0;
  private readonly byId = new Map<string, number>();

  constructor(private readonly map: MapLibre, openCluster: (lng: number, lat: number) => void) {
    this.clusters = new Clusters(map, openCluster);
  }

  show(frame: Frame, now: number): Changes {
    const changes = apply(this.state, frame, now);
    this.frames += 1;
    this.moved += changes.moved.length;
    for (const marker of changes.left) {
      this.layer.remove(marker.handle);
      if (this.byId.get(marker.id) === marker.handle) this.byId.delete(marker.id);
    }
    for (const group of [changes.entered, changes.moved]) {
      for (const marker of group) {
        this.layer.put(marker, now);
        this.byId.set(marker.id, marker.handle);
      }
    }
    if (changes.counts) this.clusters.show(this.state.counts);
    if (changes.entered.length + changes.left.length + changes.moved.length > 0) this.layer.redraw();
    return changes;
  }

  /** Nothing of what is held can be gone on from. */
  clear(): void {
    for (const handle of this.state.markers.keys()) this.layer.remove(handle);
    this.byId.clear();
    this.state = emptyState(this.state.mismatches);
    this.clusters.show(this.state.counts);
    this.layer.redraw();
  }

  named(id: string): Marker | undefined {
    return this.state.markers.get(this.byId.get(id) ?? -1);
  }

  inView(): Marker[] {
    const inside = onScreen(this.map);
    return [...this.state.markers.values()].filter((marker) => inside(marker.latE7, marker.lngE7));
  }

  /** Markers by status in view, at levels that have no single markers. */
  countsInView(): number[] | null {
    if (this.state.level?.counts !== true) return null;
    const inside = onScreen(this.map);
    const sums = new Array<number>(STATUS_COUNT).fill(0);
    for (const { originLatE7, originLngE7, counts } of this.state.counts.values()) {
      if (!inside(originLatE7, originLngE7)) continue;
      for (const { status, markers } of counts) sums[status] = (sums[status] ?? 0) + markers;
    }
    return sums;
  }

  /** The marker that is drawn beneath the pointer. */
  at({ lngLat }: MapMouseEvent): Marker | null {
    const zoom = this.map.getZoom();
    const reach = (radiusPx(zoom) + REACH_PX) / (512 * 2 ** zoom);
    const handle = this.layer.pick(mercatorX(lngLat.lng * 1e7), mercatorY(lngLat.lat * 1e7), reach, performance.now());
    return handle === null ? null : (this.state.markers.get(handle) ?? null);
  }

  /** What tests and the curious read. */
  inspect(): Readonly<Record<string, unknown>> {
    const { state } = this;
    let counted = 0;
    for (const cell of state.counts.values()) for (const row of cell.counts) counted += row.markers;
    return {
      markers: state.markers.size, drawn: this.layer.size, inView: this.inView().length, counted, circled: this.clusters.total, cells: state.handles.size + state.counts.size,
      tick: state.tick, epoch: String(state.epoch), viewId: state.viewId, level: state.level?.h3Resolution ?? null, coarsened: state.level?.coarsened ?? false,
      mismatches: state.mismatches, frames: this.frames, moved: this.moved,
    };
  }

  /** Whether the layer draws this marker. */
  draws(id: string): boolean {
    return this.layer.has(this.byId.get(id) ?? -1);
  }

  positions(): Readonly<Record<string, readonly [number, number]>> {
    return Object.fromEntries([...this.state.markers.values()].map((marker) => [marker.id, [marker.lngE7 / 1e7, marker.latE7 / 1e7] as const]));
  }
}
