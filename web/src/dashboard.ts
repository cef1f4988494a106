/** Joins socket, picture, lookout and panels into one page. Holds no rule of the protocol and draws nothing itself. */

import type { Map as MapLibre } from "maplibre-gl";
import { setTheme } from "./basemap";
import { askForKey, currentToken, forgetToken } from "./auth";
import { addControls, goTo, screenOf } from "./camera";
import { ConnectionLine, element, type Freshness, told } from "./connection";
import { Curtain } from "./curtain";
import { filterOf, wishFrom } from "./filter";
import { Filters } from "./filters";
import { Focus } from "./focus";
import { bindKeys } from "./keys";
import { List } from "./list";
import { Lookout } from "./lookout";
import { Picture } from "./picture";
import { keepPlace, placeFrom } from "./place";
import { somewhere } from "./rest";
import { LiveSocket } from "./socket";
import { groupIndex, GROUPS } from "./status";
import { mayGlide, onPreference, palette, theme, writeColours } from "./theme";
import { type Frame, isLateRisk } from "./wire";

const PANELS_EVERY_MS = 500;

export class Dashboard {
  readonly picture: Picture;
  readonly list: List;
  readonly filters: Filters;
  readonly focus: Focus;
  private readonly socket: LiveSocket;
  private readonly lookout: Lookout;
  private readonly line: ConnectionLine;
  private readonly curtain = new Curtain();
  private readonly freshness: Freshness = { state: { kind: "connecting" }, receivedMs: null, ageMs: 0, behindSinceMs: null, coarsened: false, slowLink: false };
  /** Server time less this page's clock. */
  private serverSkewMs = Date.now() - performance.now();
  private looked = false;

  constructor(readonly map: MapLibre, url: string, private readonly ownStyle: boolean) {
    this.picture = new Picture(map, (lng, lat) => goTo(map, [lng, lat], Math.min(13.2, map.getZoom() + 3)));
    this.socket = this.connectTo(url);
    this.line = new ConnectionLine(() => this.socket.retryNow());
    this.filters = new Filters(wishFrom(location.search), () => {
      this.keepPlace();
      this.lookout.look();
    });
    this.lookout = new Lookout({
      screen: () => screenOf(map),
      held: () => ({ cells: this.picture.state.handles.size + this.picture.state.counts.size, markers: this.picture.state.markers.size }),
      filter: () => filterOf(this.filters.wish),
      ask: (view) => this.socket.look(view),
      now: () => performance.now(),
    });
    this.focus = new Focus(map, this.picture, {
      serverNow: () => performance.now() + this.serverSkewMs,
      followDelivery: (id) => this.socket.followDelivery(id),
      selected: (id) => this.list.select(id),
    });
    this.list = new List({ open: (marker) => this.focus.openMarker(marker), find: (id) => this.focus.find(id), clearFilter: () => this.filters.clear(), search: () => this.drawList() });
  }

  start(): void {
    writeColours();
    this.picture.layer.glide = mayGlide();
    this.prepareMap();
    bindKeys(this);
    onPreference(() => this.onPreference());
    const fold = element("fold");
    fold.onclick = () => fold.setAttribute("aria-expanded", String(!document.body.classList.toggle("folded")));
    if (innerWidth < 640) fold.click();
    setInterval(() => this.drawPanels(), PANELS_EVERY_MS);
    this.lookout.look();
    this.socket.start();
  }

  /** What tests and the curious read; nothing here can change anything. */
  inspect(): Readonly<Record<string, unknown>> {
    const { freshness } = this;
    return { ...this.picture.inspect(), connection: freshness.state.kind, shown: document.body.dataset["connection"] ?? "", ageMs: freshness.ageMs };
  }

  // ---------------------------------------------------------------------------------------------- connection

  private connectTo(url: string): LiveSocket {
    return new LiveSocket(url, {
      token: currentToken,
      onFrame: (frame) => this.onFrame(frame),
      held: () => {
        const { epoch, tick, viewId, level } = this.picture.state;
        return tick > 0 && level ? { epoch, tick, viewId, level: level.h3Resolution } : null;
      },
      onFresh: () => this.picture.clear(),
      onState: (state) => {
        this.freshness.state = state;
        if (state.kind === "refused") void this.signIn(state.reason);
        this.line.show(this.freshness, performance.now());
      },
      now: () => performance.now(),
    });
  }

  private onFrame(frame: Frame): boolean {
    const now = performance.now();
    if (frame.hello) this.serverSkewMs = frame.hello.serverTimeMs - now;
    const { state } = this.picture;
    const empty = state.markers.size + state.counts.size === 0;
    const changes = this.curtain.take(frame, empty, now).map((due) => this.picture.show(due, now));
    told(this.freshness, frame, state.level, now);
    this.focus.framed(changes.some(({ entered, left }) => entered.length + left.length > 0));
    if (frame.tick > 0 && frame.level) this.lookout.answered(frame.viewId, frame.level);
    if (frame.tick > 0 && !this.looked) void this.lookWhereThingsAre();
    return changes.every(({ right }) => right);
  }

  private async signIn(problem: string): Promise<void> {
    forgetToken();
    await askForKey(element("sign-in") as HTMLDialogElement, problem);
    this.socket.start();
  }

  /** The first time, when the address names no place and nothing is in view: goes where deliveries are. */
  private async lookWhereThingsAre(): Promise<void> {
    this.looked = true;
    const token = currentToken();
    const empty = (): boolean => this.picture.state.markers.size + this.picture.state.counts.size === 0;
    if (placeFrom(location.search) || token === null || this.filters.isSet || !empty()) return;
    const places = await somewhere(token);
    const lngs = places.map(([lng]) => lng);
    const lats = places.map(([, lat]) => lat);
    if (places.length === 0 || !empty()) return;
    this.map.fitBounds([[Math.min(...lngs), Math.min(...lats)], [Math.max(...lngs), Math.max(...lats)]], { padding: 80, maxZoom: 14, animate: false });
  }

  // ---------------------------------------------------------------------------------------------- map

  private prepareMap(): void {
    const { map } = this;
    addControls(map, this.ownStyle);
    map.addLayer(this.picture.layer);
    map.on("move", () => this.lookout.moved());
    map.on("resize", () => this.lookout.moved());
    map.on("moveend", () => {
      this.lookout.rests();
      this.keepPlace();
    });
    map.on("click", (event) => {
      const marker = this.picture.at(event);
      if (marker) this.focus.openMarker(marker);
      else if (this.focus.isOpen) this.focus.close();
    });
    map.on("mousemove", (event) => {
      map.getCanvas().style.cursor = this.picture.at(event) ? "pointer" : "";
    });
  }

  private keepPlace(): void {
    const { lng, lat } = this.map.getCenter();
    keepPlace({ zoom: this.map.getZoom(), lat, lng }, this.filters.wish);
  }

  private onPreference(): void {
    writeColours();
    this.picture.layer.glide = mayGlide();
    this.picture.layer.repaint(palette());
    if (!this.ownStyle) setTheme(this.map, theme());
  }

  // ---------------------------------------------------------------------------------------------- panels

  private drawPanels(): void {
    const now = performance.now();
    this.line.show(this.freshness, now);
    this.focus.tick(now);
    if (!document.hidden) this.drawList();
  }

  private drawList(): void {
    const counts = this.picture.countsInView();
    const inView = counts ? [] : this.picture.inView();
    const byGroup = GROUPS.map(() => 0);
    const add = (status: number, markers: number): void => {
      const group = groupIndex(status);
      byGroup[group] = (byGroup[group] ?? 0) + markers;
    };
    if (counts) counts.forEach((markers, status) => add(status, markers));
    else for (const marker of inView) add(marker.meta & 15, 1);
    const late = counts ? null : inView.reduce((sum, { meta }) => sum + (isLateRisk(meta) ? 1 : 0), 0);
    const total = byGroup.reduce((sum, markers) => sum + markers, 0);
    const loading = this.picture.state.tick === 0;
    this.filters.show(byGroup, late, !loading && total === 0);
    this.list.show({ inView, total, countsOnly: counts !== null, filtered: this.filters.isSet, loading }, performance.now());
  }
}
