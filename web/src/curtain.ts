/** Keeps the old level of detail on the screen while the new one comes in parts: it would be a map with holes meanwhile. Pure; never looks at a clock. */

import type { Frame } from "./wire";

/** Longer than this nobody wants to look at the old one: on a slow line the new one is shown as it comes. */
const LONGEST_MS = 1_500;

export class Curtain {
  /** Acknowledged and not shown yet; the first forgets everything held before. */
  private waiting: Frame[] = [];
  private sinceMs = 0;

  /** The frames to be shown now, in order; `empty` says that there is no old picture. */
  take(frame: Frame, empty: boolean, now: number): readonly Frame[] {
    // Another connection: it goes on from what is shown, or begins with a reset of its own.
    if (frame.hello) this.waiting = [];
    if (frame.reset) {
      if (this.waiting.length === 0) this.sinceMs = now;
      this.waiting = empty || frame.lag?.behind !== true ? [] : [frame];
      return this.waiting.length === 0 ? [frame] : [];
    }
    if (this.waiting.length === 0) return [frame];
    this.waiting.push(frame);
    if (frame.lag?.behind !== false && now - this.sinceMs < LONGEST_MS) return [];
    return this.waiting.splice(0);
  }
}
