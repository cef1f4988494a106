/** Joins socket, store, layer and panels into one page. Holds no rule of the protocol and draws nothing itself. */

import type { Map as MapLibre, MapMouseEvent } from "maplibre-gl";
import { setTheme } from "./basemap";
import { askForKey, currentToken, forgetToken } from "./auth";
import { addControls, bringIntoView, goTo, keepCentred, onScreen, viewOf } from "./camera";
import { Clusters } from "./clusters";
import { ConnectionLine, element, type Freshness } from "./connection";
import { bindKeys } from "./keys";
import { MarkerLayer, radiusPx } from "./layer";
import { List } from "./list";
import { mercatorX, mercatorY } from "./mercator";
import { Panel, type Subject } from "./panel";
import { keepPlace, placeFrom } from "./place";
import { somewhere, type Detail } from "./rest";
import { LiveSocket } from "./socket";
import { apply, emptyState, type Marker, type State } from "./store";
import { mayGlide, onPreference, palette, theme, writeColours } from "./theme";
import type { Frame } from "./wire";

const PANELS_EVERY_MS = 500;
/** How far from a marker's edge a click still means it. */
const REACH_PX = 8;

export class Dashboard {
  state: State = emptyState();
  readonly socket: LiveSocket;
  readonly layer = new MarkerLayer(palette());
  readonly list: List;
  readonly panel: Panel;
  readonly clusters: Clusters;
  readonly freshness: Freshness = { state: { kind: "connecting" }, receivedMs: null, ageMs: 0, behindSinceMs: null, coarsened: false };
  frames = 0;
  moved = 0;
  private readonly line: ConnectionLine;
  private statuses: readonly number[] = [];
  private following = false;
  private detail: Detail | null = null;
  /** Server time less this page's clock. */
  private serverSkewMs = Date.now() - performance.now();
  private listDirty = true;
  private looked = false;
  /** Marker ids to handles, for what is open. */
  private readonly byId = new Map<string, number>();

  constructor(readonly map: MapLibre, url: string, private readonly ownStyle: boolean) {
    this.socket = new LiveSocket(url, {
      token: currentToken,
      onFrame: (frame) => this.onFrame(frame),
      held: () => (this.state.tick > 0 && this.state.level ? { epoch: this.state.epoch, tick: this.state.tick, viewId: this.state.viewId, level: this.state.level.h3Resolution } : null),
      onFresh: () => this.startAnew(),
      onState: (state) => {
        this.freshness.state = state;
        if (state.kind === "refused") void this.signIn(state.reason);
        this.line.show(this.freshness, performance.now());
      },
      now: () => performance.now(),
    });
    this.line = new ConnectionLine(() => this.socket.retryNow());
    this.list = new List({
      open: (marker) => this.open(subjectOf(marker)),
      find: (id) => this.find(id),
      filter: (statuses) => {
        this.statuses = statuses;
        this.look();
      },
    });
    this.panel = new Panel({
      token: currentToken,
      marker: (subject) => this.markerOf(subject),
      serverNow: () => performance.now() + this.serverSkewMs,
      open: (subject) => this.open(subject),
      close: () => this.close(),
      toggleFollow: () => this.follow(!this.following),
      following: () => this.following,
      forbidden: () => undefined,
      onDetail: (detail) => this.onDetail(detail),
    });
    this.clusters = new Clusters(map, (lng, lat) => goTo(map, [lng, lat], Math.min(13.2, map.getZoom() + 3)));
    this.list.onSearch = () => this.drawList();
  }

  start(): void {
    writeColours();
    this.layer.glide = mayGlide();
    this.prepareMap();
    bindKeys(this);
    onPreference(() => this.onPreference());
    const fold = element("fold");
    fold.onclick = () => fold.setAttribute("aria-expanded", String(!document.body.classList.toggle("folded")));
    if (innerWidth < 640) fold.click();
    setInterval(() => this.drawPanels(), PANELS_EVERY_MS);
    this.look();
    this.socket.start();
  }

  open(subject: Subject): void {
    if (this.panel.subject?.id === subject.id && this.panel.subject.kind === subject.kind) return;
    this.follow(false);
    this.detail = null;
    this.panel.show(subject);
    this.select();
    const marker = this.markerOf(subject);
    if (marker) bringIntoView(this.map, marker.lngE7 / 1e7, marker.latE7 / 1e7);
  }

  close(): void {
    this.follow(false);
    this.panel.hide();
    this.detail = null;
    this.select();
    this.map.getCanvas().focus();
  }

  /** Esc: first stops following, then closes. True when there was anything to do. */
  escape(): boolean {
    if (this.following) this.follow(false);
    else if (this.panel.subject) this.close();
    else return false;
    return true;
  }

  follow(on: boolean): void {
    const { subject } = this.panel;
    this.following = on && subject !== null;
    this.state.followed = null;
    this.socket.followDelivery(this.following && subject?.kind === "delivery" ? subject.id : "");
    this.drawChip();
    if (this.following) this.keepFollowed();
    this.panel.tick(performance.now());
  }

  toggleFollow(): void {
    if (this.panel.subject) this.follow(!this.following);
  }

  /** What tests and the curious read; nothing here can change anything. */
  inspect(): Readonly<Record<string, unknown>> {
    const { state, freshness } = this;
    let counted = 0;
    for (const cell of state.counts.values()) for (const row of cell.counts) counted += row.markers;
    return {
      markers: state.markers.size, drawn: this.layer.size, inView: this.inView().length, counted, cells: state.handles.size + state.counts.size,
      tick: state.tick, epoch: String(state.epoch), viewId: state.viewId, level: state.level?.h3Resolution ?? null, mismatches: state.mismatches,
      frames: this.frames, moved: this.moved, connection: freshness.state.kind, shown: document.body.dataset["connection"] ?? "", ageMs: freshness.ageMs,
    };
  }

  positions(): Readonly<Record<string, readonly [number, number]>> {
    return Object.fromEntries([...this.state.markers.values()].map((marker) => [marker.id, [marker.lngE7 / 1e7, marker.latE7 / 1e7] as const]));
  }

  // ---------------------------------------------------------------------------------------------- frames

  private onFrame(frame: Frame): boolean {
    const now = performance.now();
    const { freshness, state } = this;
    if (frame.hello) {
      this.serverSkewMs = frame.hello.serverTimeMs - now;
      freshness.behindSinceMs = null;
    }
    if (frame.lag) freshness.behindSinceMs = frame.lag.behind ? (freshness.behindSinceMs ?? now) : null;
    const changes = apply(state, frame, now);
    this.frames += 1;
    this.moved += changes.moved.length;
    if (frame.tick > 0) {
      freshness.receivedMs = now;
      freshness.ageMs = frame.ageMs;
      freshness.coarsened = state.level?.coarsened ?? false;
    }
    for (const marker of changes.left) {
      this.layer.remove(marker.handle);
      this.byId.delete(marker.id);
    }
    for (const group of [changes.entered, changes.moved]) {
      for (const marker of group) {
        this.layer.put(marker, now);
        this.byId.set(marker.id, marker.handle);
      }
    }
    if (changes.counts) this.clusters.show(state.counts);
    if (changes.entered.length + changes.left.length > 0) {
      this.listDirty = true;
      this.select();
    }
    if (changes.moved.length > 0 || this.listDirty) this.layer.redraw();
    if (this.following) this.keepFollowed();
    if (frame.tick > 0 && !this.looked) void this.lookWhereThingsAre();
    return state.mismatches === 0;
  }

  private startAnew(): void {
    for (const handle of this.state.markers.keys()) this.layer.remove(handle);
    this.byId.clear();
    this.state = emptyState();
    this.listDirty = true;
    this.clusters.show(this.state.counts);
    this.layer.redraw();
  }

  /** The first time, when the address names no place and nothing is in view: goes where deliveries are. */
  private async lookWhereThingsAre(): Promise<void> {
    this.looked = true;
    const token = currentToken();
    if (placeFrom(location.search) || token === null || this.state.markers.size + this.state.counts.size > 0) return;
    const places = await somewhere(token);
    const lngs = places.map(([lng]) => lng);
    const lats = places.map(([, lat]) => lat);
    if (places.length === 0 || this.state.markers.size > 0) return;
    this.map.fitBounds([[Math.min(...lngs), Math.min(...lats)], [Math.max(...lngs), Math.max(...lats)]], { padding: 80, maxZoom: 14, animate: false });
  }

  private async signIn(problem: string): Promise<void> {
    forgetToken();
    await askForKey(element("sign-in") as HTMLDialogElement, problem);
    this.socket.start();
  }

  // ---------------------------------------------------------------------------------------------- map

  private prepareMap(): void {
    const { map } = this;
    addControls(map, this.ownStyle);
    map.addLayer(this.layer);
    map.on("move", () => this.look());
    map.on("moveend", () => {
      const { lng, lat } = map.getCenter();
      keepPlace({ zoom: map.getZoom(), lat, lng });
      this.listDirty = true;
    });
    map.on("dragstart", () => {
      if (this.following) this.follow(false);
    });
    map.on("click", (event) => this.onClick(event));
    map.on("mousemove", (event) => {
      map.getCanvas().style.cursor = this.pick(event) === null ? "" : "pointer";
    });
  }

  private look(): void {
    this.socket.look(viewOf(this.map, this.statuses));
  }

  private pick({ lngLat }: MapMouseEvent): number | null {
    const zoom = this.map.getZoom();
    const reach = (radiusPx(zoom) + REACH_PX) / (512 * 2 ** zoom);
    return this.layer.pick(mercatorX(lngLat.lng * 1e7), mercatorY(lngLat.lat * 1e7), reach, performance.now());
  }

  private onClick(event: MapMouseEvent): void {
    const handle = this.pick(event);
    const marker = handle === null ? undefined : this.state.markers.get(handle);
    if (marker) this.open(subjectOf(marker));
    else if (this.panel.subject) this.close();
  }

  private keepFollowed(): void {
    const { subject } = this.panel;
    const marker = this.state.followed ?? (subject ? this.markerOf(subject) : null);
    if (marker) keepCentred(this.map, marker.lngE7 / 1e7, marker.latE7 / 1e7);
  }

  private onPreference(): void {
    writeColours();
    this.layer.glide = mayGlide();
    this.layer.repaint(palette());
    if (!this.ownStyle) setTheme(this.map, theme());
  }

  // ---------------------------------------------------------------------------------------------- panels

  private drawPanels(): void {
    const now = performance.now();
    this.line.show(this.freshness, now);
    this.panel.tick(now);
    if (!document.hidden) this.drawList();
  }

  private drawList(): void {
    const { state } = this;
    const counts = state.level?.counts === true ? new Array<number>(13).fill(0) : null;
    if (counts) for (const cell of state.counts.values()) for (const row of cell.counts) counts[row.status] = (counts[row.status] ?? 0) + row.markers;
    this.list.show(counts ? [] : this.inView(), counts, state.tick === 0, performance.now());
    this.listDirty = false;
  }

  private inView(): Marker[] {
    const inside = onScreen(this.map);
    return [...this.state.markers.values()].filter((marker) => inside(marker.latE7, marker.lngE7));
  }

  private find(id: string): void {
    const driver = this.byId.get(id) !== undefined;
    this.open({ kind: driver ? "driver" : "delivery", id });
  }

  /** A search that went past the map: flies there once its place is known, and tries the other kind when there is none. */
  private onDetail(detail: Detail): void {
    const first = this.detail?.id !== detail.id;
    this.detail = detail;
    if (!first) return;
    this.select();
    if (detail.position && !this.markerOf({ kind: detail.kind, id: detail.id })) {
      goTo(this.map, [detail.position.lng, detail.position.lat], Math.max(14, this.map.getZoom()));
    }
  }

  private markerOf(subject: Subject): Marker | null {
    const { followed, markers } = this.state;
    const held = markers.get(this.byId.get(subject.id) ?? -1);
    if (held) return held;
    // A delivery aboard is where its courier is.
    const driver = this.detail?.kind === "delivery" && this.detail.id === subject.id ? this.detail.driver : null;
    const courier = driver === null ? undefined : markers.get(this.byId.get(driver) ?? -1);
    return courier ?? (this.following ? followed : null);
  }

  private select(): void {
    const { subject } = this.panel;
    const marker = subject ? this.markerOf(subject) : null;
    this.layer.select(marker?.handle ?? -1);
    this.list.select(marker?.id ?? subject?.id ?? "");
  }

  private drawChip(): void {
    const chips = element("chips");
    chips.replaceChildren();
    if (!this.following || !this.panel.subject) return;
    const chip = document.createElement("button");
    chip.type = "button";
    chip.append(`Following ${this.panel.subject.id}`, Object.assign(document.createElement("kbd"), { textContent: "Esc" }));
    chip.onclick = () => this.follow(false);
    chips.append(chip);
  }
}

function subjectOf(marker: Marker): Subject {
  return { kind: marker.driver ? "driver" : "delivery", id: marker.id };
}
