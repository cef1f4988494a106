/** The live connection: who speaks first, what is acknowledged, when to come back. Never knows what a frame means to the map. */

import { afterBye, backoffMs } from "./backoff";
import { type ClientMessage, encodeClientMessage, type View } from "./encode";
import { decodeFrame, type Frame } from "./wire";

export const SUBPROTOCOL = "waypost.v1.proto";

export type Connection =
  | { kind: "connecting" }
  | { kind: "live" }
  | { kind: "reconnecting"; attempt: number; retryAtMs: number; reason: string }
  | { kind: "refused"; reason: string }
  | { kind: "stopped"; reason: string };

/** What the socket needs from the rest of the page. */
export interface Host {
  token(): string | null;
  /** Applies the frame; returns false when what is held is wrong after it and everything must be sent anew. */
  onFrame(frame: Frame): boolean;
  /** What is held, to go on from there; null when nothing is. */
  held(): { epoch: bigint; tick: number; viewId: number; level: number } | null;
  /** Forget everything: the next connection starts from nothing. */
  onFresh(): void;
  onState(state: Connection): void;
  now(): number;
}

const CONNECT_TIMEOUT_MS = 10_000;
const VIEW_EVERY_MS = 120;
const VIEWS_REMEMBERED = 32;
/** After this much silence the same view is asked for once more; a server that lives answers it. */
const SILENCE_MS = 20_000;
const ANSWER_WITHIN_MS = 8_000;

export class LiveSocket {
  state: Connection = { kind: "connecting" };
  private socket: WebSocket | null = null;
  private attempt = 0;
  private timer: number | undefined;
  private deadline: number | undefined;
  private viewTimer: number | undefined;
  private wanted: View | null = null;
  private sentAtMs = -Infinity;
  private nextViewId = 1;
  private lastReason = "";
  /** The views that were sent, so that a resume can name the one that the last frame showed. */
  private readonly sent = new Map<number, View>();
  private follow = "";
  private resuming = false;
  /** Everything was asked for anew because what is held was wrong, and has not come yet. */
  private mending = false;
  private asked: { inMs: number } | null = null;
  private ended = false;
  private heardAtMs = 0;
  private probedAtMs: number | null = null;

  constructor(private readonly url: string, private readonly host: Host) {
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retryNow();
    });
    setInterval(() => this.probe(), 2_000);
  }

  start(): void {
    this.ended = false;
    this.attempt = 0;
    this.connect();
  }

  /** Ends the connection for good, as at a sign-out. */
  stop(): void {
    this.ended = true;
    clearTimeout(this.timer);
    this.close();
  }

  retryNow(): void {
    if (this.state.kind !== "reconnecting" || this.ended) return;
    clearTimeout(this.timer);
    this.connect();
  }

  /** Looks elsewhere. Sent at most every 120 ms while the map moves; the last one is always sent. Returns the id that its answer will carry. */
  look(view: Omit<View, "viewId">): number {
    const viewId = this.nextViewId;
    this.wanted = { ...view, viewId };
    this.nextViewId += 1;
    this.flushView();
    return viewId;
  }

  followDelivery(id: string): void {
    this.follow = id;
    this.send({ kind: "follow", delivery: id });
  }

  private connect(): void {
    const token = this.host.token();
    if (token === null) return this.set({ kind: "refused", reason: "" });
    if (this.state.kind !== "reconnecting") this.set({ kind: "connecting" });
    const socket = new WebSocket(this.url, [SUBPROTOCOL]);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.asked = null;
    this.mending = false;
    this.deadline = window.setTimeout(() => this.lost(socket, "no answer"), CONNECT_TIMEOUT_MS);
    socket.onopen = () => {
      this.send({ kind: "auth", token });
      this.begin();
    };
    socket.onmessage = (event: MessageEvent<ArrayBuffer>) => this.receive(socket, event.data);
    socket.onclose = (event) => this.lost(socket, event.reason || (event.code === 1006 ? "connection lost" : `closed (${event.code})`));
  }

  /** Right after auth: what is held, or else where to look. */
  private begin(): void {
    const held = this.host.held();
    const view = held ? this.sent.get(held.viewId) : undefined;
    this.resuming = held !== null && view !== undefined;
    const latest = [...this.sent.values()].at(-1) ?? null;
    if (held && view) {
      // A view that was sent and never answered comes after the resume.
      if (latest !== view) this.wanted ??= latest;
      this.send({ kind: "resume", sources: [{ epoch: held.epoch, tick: held.tick }], view, level: held.level });
    } else {
      this.host.onFresh();
      this.wanted ??= latest;
      this.flushView();
    }
    if (this.follow !== "") this.send({ kind: "follow", delivery: this.follow });
  }

  private receive(socket: WebSocket, data: ArrayBuffer): void {
    if (socket !== this.socket) return;
    this.heardAtMs = this.host.now();
    this.probedAtMs = null;
    let frame: Frame;
    try {
      frame = decodeFrame(new Uint8Array(data));
    } catch (error) {
      console.error("waypost: a frame that cannot be read", error);
      this.host.onFresh();
      return this.lost(socket, "unreadable frame");
    }
    if (frame.bye) return this.goodbye(socket, frame);
    const right = this.host.onFrame(frame);
    if (frame.tick === 0) return;
    this.send({ kind: "ack", tick: frame.tick });
    this.resuming = false;
    if (!right && !this.mend(frame)) {
      this.host.onFresh();
      return this.lost(socket, "checksum differs");
    }
    if (right && frame.reset) this.mending = false;
    if (this.state.kind !== "live") this.welcome(right);
    this.flushView();
  }

  /**
   * What is held is wrong: all of it is asked for anew, as by one who holds nothing, on this same connection, so that the old picture stays until
   * the whole one replaces it. False when what came in answer is wrong as well.
   */
  private mend(frame: Frame): boolean {
    if (this.mending) return !frame.reset;
    const view = [...this.sent.values()].at(-1);
    if (!view) return false;
    console.warn("waypost: what is held differs from the server's checksum; all of it is asked for anew");
    this.mending = this.resuming = true;
    this.send({ kind: "resume", sources: [], view, level: this.host.held()?.level ?? 0 });
    return true;
  }

  /** Browsers hide the server's pings, so a dead line looks like a quiet city: ask. */
  private probe(): void {
    const socket = this.socket;
    if (!socket || this.state.kind !== "live") return;
    const now = this.host.now();
    if (this.probedAtMs !== null) {
      if (now - this.probedAtMs > ANSWER_WITHIN_MS) this.lost(socket, "no answer");
    } else if (now - this.heardAtMs > SILENCE_MS) {
      this.probedAtMs = now;
      const latest = [...this.sent.values()].at(-1);
      if (latest) this.look(latest);
    }
  }

  /** At the first frame of the map: a greeting alone leaves what is shown as old as it was. */
  private welcome(right: boolean): void {
    clearTimeout(this.deadline);
    if (right) this.attempt = 0;
    this.set({ kind: "live" });
  }

  private goodbye(socket: WebSocket, frame: Frame): void {
    const bye = frame.bye;
    if (!bye) return;
    const next = afterBye(bye.code, bye.reason, bye.reconnectInMs);
    this.lastReason = bye.reason;
    if (next.kind === "retry") {
      this.asked = { inMs: next.inMs };
      return this.lost(socket, bye.reason);
    }
    this.close();
    this.set(next.kind === "sign-in" ? { kind: "refused", reason: next.reason } : { kind: "stopped", reason: next.reason });
  }

  private lost(socket: WebSocket, reason: string): void {
    if (socket !== this.socket || this.ended) return;
    this.close();
    const inMs = this.asked?.inMs ?? backoffMs(this.attempt, Math.random());
    this.asked = null;
    this.attempt += 1;
    this.set({ kind: "reconnecting", attempt: this.attempt, retryAtMs: this.host.now() + inMs, reason: reason || this.lastReason });
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.connect(), inMs);
  }

  private close(): void {
    clearTimeout(this.deadline);
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private flushView(): void {
    if (!this.wanted || this.viewTimer !== undefined || this.resuming || this.socket?.readyState !== WebSocket.OPEN) return;
    const wait = this.sentAtMs + VIEW_EVERY_MS - this.host.now();
    if (wait > 0) {
      this.viewTimer = window.setTimeout(() => {
        this.viewTimer = undefined;
        this.flushView();
      }, wait);
      return;
    }
    const view = this.wanted;
    this.wanted = null;
    this.sentAtMs = this.host.now();
    this.sent.set(view.viewId, view);
    for (const id of this.sent.keys()) {
      if (this.sent.size <= VIEWS_REMEMBERED) break;
      this.sent.delete(id);
    }
    this.send({ kind: "view", view });
  }

  private send(message: ClientMessage): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(encodeClientMessage(message));
  }

  private set(state: Connection): void {
    this.state = state;
    this.host.onState(state);
  }
}
