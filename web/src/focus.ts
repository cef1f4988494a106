/** What is open in the panel, and whether the map follows it. Never draws a marker. */

import type { Map as MapLibre } from "maplibre-gl";
import { currentToken } from "./auth";
import { bringIntoView, goTo, keepCentred } from "./camera";
import { element } from "./connection";
import { Panel, type Subject } from "./panel";
import type { Picture } from "./picture";
import type { Detail } from "./rest";
import type { Marker } from "./store";

export interface FocusHost {
  serverNow(): number;
  /** A delivery's place is told by the server wherever it is; an empty id ends that. */
  followDelivery(id: string): void;
  /** Another marker is selected; an empty id is none. */
  selected(id: string): void;
}

export class Focus {
  private readonly panel: Panel;
  private readonly chip = element("follow-chip");
  private isFollowing = false;
  private detail: Detail | null = null;

  constructor(private readonly map: MapLibre, private readonly picture: Picture, private readonly host: FocusHost) {
    this.panel = new Panel({
      token: currentToken,
      marker: (subject) => this.markerOf(subject),
      serverNow: () => host.serverNow(),
      open: (subject) => this.open(subject),
      close: () => this.close(),
      toggleFollow: () => this.toggleFollow(),
      following: () => this.isFollowing,
      forbidden: () => undefined,
      onDetail: (detail) => this.onDetail(detail),
    });
    this.chip.onclick = () => this.follow(false);
    // A hand on the map ends it, and so do the arrow keys; what the page itself moves has no such event.
    map.on("dragstart", () => this.follow(false));
    map.on("movestart", ({ originalEvent }) => {
      if (originalEvent instanceof KeyboardEvent && originalEvent.key.startsWith("Arrow")) this.follow(false);
    });
  }

  get isOpen(): boolean {
    return this.panel.subject !== null;
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

  openMarker(marker: Marker): void {
    this.open({ kind: marker.driver ? "driver" : "delivery", id: marker.id });
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
    if (this.isFollowing) this.follow(false);
    else if (this.isOpen) this.close();
    else return false;
    return true;
  }

  toggleFollow(): void {
    if (this.isOpen) this.follow(!this.isFollowing);
  }

  /** Opens what has this id: the map may not hold it. */
  find(id: string): void {
    this.open({ kind: this.picture.named(id)?.driver ? "driver" : "delivery", id });
  }

  tick(now: number): void {
    this.panel.tick(now);
  }

  /** After a frame: the selected marker may have come or gone, the followed one has moved. */
  framed(membersChanged: boolean): void {
    if (membersChanged) this.select();
    if (this.isFollowing) this.keepFollowed();
  }

  private follow(on: boolean): void {
    if (!on && !this.isFollowing) return;
    const { subject } = this.panel;
    this.isFollowing = on && subject !== null;
    this.picture.state.followed = null;
    this.host.followDelivery(this.isFollowing && subject?.kind === "delivery" ? subject.id : "");
    this.chip.hidden = !this.isFollowing;
    if (this.chip.firstElementChild) this.chip.firstElementChild.textContent = `Following ${subject?.id ?? ""}`;
    if (this.isFollowing) this.keepFollowed();
    this.panel.tick(performance.now());
  }

  /** The newest that is known of its place: told for a delivery, held on the map, or as REST said it. */
  private keepFollowed(): void {
    const { subject } = this.panel;
    const marker = this.picture.state.followed ?? (subject ? this.markerOf(subject) : null);
    const position = this.detail?.position;
    if (marker) keepCentred(this.map, marker.lngE7 / 1e7, marker.latE7 / 1e7);
    else if (position) keepCentred(this.map, position.lng, position.lat);
  }

  /** A search that went past the map: flies there once its place is known. */
  private onDetail(detail: Detail): void {
    const first = this.detail?.id !== detail.id;
    this.detail = detail;
    if (this.isFollowing) this.keepFollowed();
    if (!first) return;
    this.select();
    if (detail.position && !this.isFollowing && !this.markerOf({ kind: detail.kind, id: detail.id })) {
      goTo(this.map, [detail.position.lng, detail.position.lat], Math.max(14, this.map.getZoom()));
    }
  }

  private markerOf(subject: Subject): Marker | null {
    const held = this.picture.named(subject.id);
    if (held) return held;
    // A delivery aboard is where its courier is.
    const driver = this.detail?.kind === "delivery" && this.detail.id === subject.id ? this.detail.driver : null;
    const courier = driver === null ? undefined : this.picture.named(driver);
    return courier ?? (this.isFollowing ? this.picture.state.followed : null);
  }

  private select(): void {
    const { subject } = this.panel;
    const marker = subject ? this.markerOf(subject) : null;
    this.picture.layer.select(marker?.handle ?? -1);
    this.host.selected(marker?.id ?? subject?.id ?? "");
  }
}
