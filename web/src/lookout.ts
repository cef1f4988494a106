/** Decides what is asked of the server while the map moves: the screen and a ring around it, so that an edge is there before it is seen. Never applies an answer. */

import type { Filter, View } from "./encode";
import { around, type Asked, bracket, type Held, isOff, isUsedUp, screensApart, type Screen, shareFor, wrapped } from "./ring";
import type { Level } from "./wire";

export interface LookoutHost {
  screen(): Screen;
  held(): Held;
  filter(): Filter;
  /** Sends it, as soon as views may be sent; returns the id that its answer will carry. */
  ask(view: Omit<View, "viewId">): number;
}

/** Having been told that a ring costs detail, none is asked for within this many screens of that place. */
const REFUSED_SCREENS = 1.5;

export class Lookout {
  private asked: (Asked & { viewId: number }) | null = null;
  /** Where an answer with a ring was coarser than the zoom allows. */
  private refusedAt: Screen | null = null;

  constructor(private readonly host: LookoutHost) {}

  /** In any case: the wish is another one, or nothing was asked for yet. */
  look(): void {
    this.ask(this.host.screen());
  }

  moved(): void {
    const screen = this.host.screen();
    if (!this.asked || isUsedUp(screen, this.asked)) this.ask(screen);
  }

  rests(): void {
    const screen = this.host.screen();
    if (!this.asked || isOff(screen, this.asked)) this.ask(screen);
  }

  /** An answer that is coarser than the zoom allows may be so because of the ring: then detail is worth more than the ring. */
  answered(viewId: number, level: Level): void {
    const { asked } = this;
    if (!asked || viewId < asked.viewId || !level.coarsened || asked.share === 0) return;
    this.refusedAt = asked.screen;
    this.look();
  }

  private ask(screen: Screen): void {
    const { refusedAt } = this;
    if (refusedAt && (bracket(refusedAt.zoom) !== bracket(screen.zoom) || screensApart(refusedAt, screen) > REFUSED_SCREENS)) this.refusedAt = null;
    const share = this.refusedAt ? 0 : shareFor(screen, this.asked, this.host.held());
    const box = around(screen, share);
    const viewId = this.host.ask({ ...wrapped(box), zoom: screen.zoom, filter: this.host.filter() });
    this.asked = { screen, box, share, viewId };
  }
}
