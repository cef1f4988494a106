/** The line that says whether what is shown is live and how old it is. Never green on old data. */

import type { Connection } from "./socket";
import { age } from "./status";
import type { Frame, Level } from "./wire";

/** Connected and yet nothing new for this long, with markers in view: said as it is. */
const STALE_MS = 30_000;
/** Falling behind for a moment is how a burst is taken; for longer than this the link is slow. */
const SLOW_MS = 2_000;

export interface Freshness {
  state: Connection;
  /** When the newest frame came, and how old its oldest change was then. */
  receivedMs: number | null;
  ageMs: number;
  /** Since when the server cannot send all that changes. */
  behindSinceMs: number | null;
  coarsened: boolean;
  /** It was behind for long since it last showed all the detail that the zoom allows: so that is why there is less. */
  slowLink: boolean;
}

/** Takes up what a frame says of the connection. */
export function told(freshness: Freshness, frame: Frame, level: Level | null, now: number): void {
  freshness.slowLink ||= isSlow(freshness, now);
  if (frame.hello) freshness.behindSinceMs = null;
  if (frame.lag) freshness.behindSinceMs = frame.lag.behind ? (freshness.behindSinceMs ?? now) : null;
  if (frame.tick === 0) return;
  freshness.receivedMs = now;
  freshness.ageMs = frame.ageMs;
  freshness.coarsened = level?.coarsened ?? false;
  if (!freshness.coarsened && freshness.behindSinceMs === null) freshness.slowLink = false;
}

function isSlow({ behindSinceMs }: Freshness, now: number): boolean {
  return behindSinceMs !== null && now - behindSinceMs > SLOW_MS;
}

export type Shown = "live" | "connecting" | "reconnecting" | "stale" | "off";

export function shownState(freshness: Freshness, now: number): Shown {
  switch (freshness.state.kind) {
    case "connecting":
      return "connecting";
    case "reconnecting":
      return "reconnecting";
    case "refused":
    case "stopped":
      return "off";
    case "live":
      if (freshness.receivedMs === null) return "connecting";
      return now - freshness.receivedMs > STALE_MS ? "stale" : "live";
  }
}

export class ConnectionLine {
  private readonly root = element("connection");
  private readonly words = element("connection-text");
  private readonly age = element("data-age");
  private readonly retry = element("retry");
  private readonly announce = element("live-region");
  private last: Shown = "connecting";

  constructor(onRetry: () => void) {
    this.retry.onclick = onRetry;
  }

  show(freshness: Freshness, now: number): void {
    const shown = shownState(freshness, now);
    const slow = isSlow(freshness, now);
    this.root.dataset["state"] = (slow || (freshness.coarsened && freshness.slowLink)) && shown === "live" ? "behind" : shown;
    document.body.dataset["connection"] = shown;
    this.retry.hidden = shown !== "reconnecting";
    const words = this.text(freshness, shown, slow, now);
    if (this.words.textContent !== words) this.words.textContent = words;
    const old = freshness.receivedMs === null ? "" : age(freshness.ageMs + now - freshness.receivedMs);
    if (this.age.textContent !== old) this.age.textContent = old;
    if (shown !== this.last) this.announce.textContent = shown === "live" ? "Live" : words;
    this.last = shown;
  }

  private text({ state, coarsened, slowLink }: Freshness, shown: Shown, slow: boolean, now: number): string {
    switch (state.kind) {
      case "connecting":
        return "Connecting";
      case "reconnecting":
        return state.retryAtMs > now ? `Reconnecting in ${Math.ceil((state.retryAtMs - now) / 1000)} s` : "Reconnecting";
      case "refused":
        return "Signed out";
      case "stopped":
        return state.reason;
      case "live":
        if (shown === "stale") return "No news";
        if (shown === "connecting") return "Loading";
        if (coarsened) return slow || slowLink ? "Slow connection: less detail" : "Live, simplified: much in view";
        return slow ? "Live, slow connection" : "Live";
    }
  }
}

export function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page lacks #${id}`);
  return found;
}
