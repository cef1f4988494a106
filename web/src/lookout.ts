/** Decides what is asked of the server while the map moves: the screen and a ring around it, so that an edge is there before it is seen. Never applies an answer. */

import type { Filter, View } from "./encode";
import { ahead, type Asked, bracket, type Held, isOff, isUsedUp, screensApart, type Screen, shareFor, speedOf, wrapped } from "./ring";
import type { Level } from "./wire";

export interface LookoutHost {
  screen(): Screen;
  held(): Held;
  filter(): Filter;
  /** Sends it, as soon as views may be sent; returns the id that its answer will carry. */
  ask(view: Omit<View, "viewId">): number;
  now(): number;
}

/** Having been told that a ring costs detail, none is asked for within this many screens of that place. */
const REFUSED_SCREENS = 1.5;
const STEP_MS = 60;

export class Lookout {
  private asked: (Asked & { viewId: number }) | null = null;
  /** Where an answer with a ring was coarser than the zoom allows. */
  private refusedAt: Screen | null = null;
  private seen: { screen: Screen; atMs: number } | null = null;
  private speed: readonly [number, number] = [0, 0];

  constructor(private readonly host: LookoutHost) {}

  /** In any case: the wish is another one, or nothing was asked for yet. */
  look(): void {
    this.ask(this.host.screen());
  }

  moved(): void {
    const screen = this.host.screen();
    this.measure(screen);
    if (!this.asked || isUsedUp(screen, this.asked)) this.ask(screen);
  }

  rests(): void {
    [this.seen, this.speed] = [null, [0, 0]];
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

  /** From steps long enough to tell: a mouse comes in jerks. */
  private measure(screen: Screen): void {
    const now = this.host.now();
    if (this.seen && now - this.seen.atMs < STEP_MS) return;
    if (this.seen) this.speed = speedOf(this.seen.screen, screen, now - this.seen.atMs);
    this.seen = { screen, atMs: now };
  }

  private ask(screen: Screen): void {
    const { refusedAt } = this;
    if (refusedAt && (bracket(refusedAt.zoom) !== bracket(screen.zoom) || screensApart(refusedAt, screen) > REFUSED_SCREENS)) this.refusedAt = null;
    const share = this.refusedAt ? 0 : shareFor(screen, this.asked, this.host.held());
    const box = ahead(screen, share, this.speed);
    const viewId = this.host.ask({ ...wrapped(box), zoom: screen.zoom, filter: this.host.filter() });
    this.asked = { screen, box, share, viewId };
  }
}
