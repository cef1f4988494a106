/** Details of one driver or delivery, beside the map. Asks REST for what the map does not carry; never moves the map itself. */

import { element } from "./connection";
import { escape } from "./list";
import { type Aboard, type Answer, type DeliveryDetail, type Detail, type DriverDetail, getDetail } from "./rest";
import { age, glyph, groupOf, LINKS, statusCode, statusName, unpackMeta } from "./status";
import type { Marker } from "./store";

const REFRESH_MS = 4_000;

export interface Subject {
  kind: "driver" | "delivery";
  id: string;
}

export interface PanelHost {
  token(): string | null;
  /** The marker that shows this, when it is held. */
  marker(subject: Subject): Marker | null;
  /** The server's time, for ages that do not depend on this machine's clock. */
  serverNow(): number;
  open(subject: Subject): void;
  close(): void;
  toggleFollow(): void;
  following(): boolean;
  forbidden(): void;
  onDetail(detail: Detail): void;
}

export class Panel {
  subject: Subject | null = null;
  private readonly root = element("panel");
  private answer: Answer<Detail> | null = null;
  private asking = 0;
  private askedMs = 0;
  private drawn: string[] = [];

  constructor(private readonly host: PanelHost) {
    this.root.onclick = (event) => {
      const target = (event.target as Element).closest<HTMLElement>("[data-do]");
      if (!target) return;
      if (target.dataset["do"] === "close") this.host.close();
      else if (target.dataset["do"] === "follow") this.host.toggleFollow();
      else this.host.open({ kind: target.dataset["do"] === "driver" ? "driver" : "delivery", id: target.dataset["id"] ?? "" });
    };
  }

  show(subject: Subject): void {
    this.subject = subject;
    this.answer = null;
    this.root.hidden = false;
    document.body.classList.add("with-panel");
    this.draw();
    this.root.scrollTop = 0;
    void this.ask();
  }

  hide(): void {
    this.subject = null;
    this.root.hidden = true;
    this.drawn = [];
    this.root.replaceChildren();
    document.body.classList.remove("with-panel");
  }

  /** Called a few times a second: ages go on, and details are asked for again. */
  tick(now: number): void {
    if (!this.subject) return;
    if (now - this.askedMs > REFRESH_MS) void this.ask();
    this.draw();
  }

  private async ask(): Promise<void> {
    const { subject } = this;
    const token = this.host.token();
    if (!subject || token === null) return;
    const mine = (this.asking += 1);
    this.askedMs = performance.now();
    const answer = await getDetail(subject.kind, subject.id, token);
    if (mine !== this.asking || this.subject !== subject) return;
    if (answer.kind === "forbidden") this.host.forbidden();
    // What was read before stays, with its age, while the server is away.
    if (answer.kind === "ok" || this.answer?.kind !== "ok" || answer.kind === "missing") this.answer = answer;
    if (answer.kind === "ok") this.host.onDetail(answer.value);
    this.draw();
  }

  private draw(): void {
    const { subject } = this;
    if (!subject) return;
    const parts = [this.head(subject), ...this.body(subject)];
    if (this.root.childElementCount !== parts.length) this.root.replaceChildren(...parts.map((_, index) => document.createElement(index === 0 ? "header" : "div")));
    // Ages change all the time; what is being clicked must not be replaced for that.
    parts.forEach((html, index) => this.fill(index, html));
  }

  private fill(index: number, html: string): void {
    const part = this.root.children[index];
    if (!part || this.drawn[index] === html) return;
    this.drawn[index] = html;
    const focused = document.activeElement instanceof HTMLElement && part.contains(document.activeElement) ? document.activeElement.dataset["key"] : undefined;
    part.innerHTML = html;
    if (focused !== undefined) part.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  private head(subject: Subject): string {
    const on = this.host.following();
    return `<div><p class="kind">${subject.kind === "driver" ? "Courier" : "Delivery"}</p><h2>${escape(subject.id)}</h2></div>
      <button class="follow" data-do="follow" data-key="follow" type="button" aria-pressed="${on}" title="Follow (f)">${on ? "Following" : "Follow"}</button>
      <button class="icon" data-do="close" data-key="close" type="button" aria-label="Close details" title="Close (Esc)"><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"/></svg></button>`;
  }

  /** What changes by the second, and the rest. */
  private body(subject: Subject): [string, string] {
    const { answer } = this;
    const marker = this.host.marker(subject);
    const detail = answer?.kind === "ok" ? answer.value : null;
    const facts = this.facts(subject, marker, detail);
    if (!answer) return [facts, `<div class="skeleton-block"></div><div class="skeleton-block short"></div>`];
    switch (answer.kind) {
      case "missing":
        return [facts, `<p class="state">The server knows no ${subject.kind === "driver" ? "courier" : "delivery"} of this id any more.</p>`];
      case "forbidden":
        return [facts, `<p class="state">This key may not read details.</p>`];
      case "failed":
        return [facts, `<p class="state">${escape(answer.problem)}</p>`];
      case "ok":
        return [facts, answer.value.kind === "driver" ? this.driver(answer.value) : this.delivery(answer.value)];
    }
  }

  /** Status, link, motion and duty are separate facts and shown as such; the marker is newer than what REST said. */
  private facts(subject: Subject, marker: Marker | null, detail: Detail | null): string {
    const live = marker ? unpackMeta(marker.meta) : null;
    const ownStatus = subject.kind === "delivery" && detail ? statusCode(detail.status) : live?.status ?? statusCode(detail?.status);
    const linkIndex = live?.link ?? (detail?.link ? LINKS.indexOf(detail.link as (typeof LINKS)[number]) : -1);
    const heardMs = marker ? performance.now() - marker.heardMs : detail?.heard ? this.host.serverNow() - Date.parse(detail.heard) : null;
    const speed = live && live.speedMps > 0 ? live.speedMps : detail?.speedMps ?? null;
    const moving = live ? live.moving : detail?.motion === "moving";
    const known = live !== null || detail?.motion !== null;
    const motion = !known || (!live && !detail) ? "–" : moving ? `Moving${speed !== null && speed > 0.5 ? ` <small>${Math.round(speed * 3.6)} km/h</small>` : ""}` : "Stopped";
    const link = linkIndex < 0 ? "–" : `<i class="lamp link-${linkIndex}"></i>${capital(LINKS[linkIndex] ?? "")}`;
    // Who is off duty is never on the map, so a courier with a place is on duty.
    const courier = subject.kind === "driver" || (detail?.kind === "delivery" && detail.driver !== null);
    const duty = detail?.duty ? capital(detail.duty) : courier && (marker || detail?.position) ? "On" : "–";
    const group = groupOf(ownStatus);
    const heard = heardMs === null ? "" : `<p class="heard">Last heard <b class="num">${age(heardMs)}</b> ago${accuracy(detail)}</p>`;
    const late = live?.lateRisk ?? false;
    const risk = late ? `<b class="late-badge">Late risk</b>` : "";
    return `<p class="status g-${group.key}">${glyph(group, late)}<span>${capital(statusName(ownStatus))}</span>${risk}</p>
      <dl class="facts"><div><dt>Link</dt><dd>${link}</dd></div><div><dt>Motion</dt><dd class="num">${motion}</dd></div><div><dt>Duty</dt><dd>${duty}</dd></div></dl>${heard}`;
  }

  private driver(detail: DriverDetail): string {
    const hidden = detail.deliveriesCount - detail.deliveries.length;
    const rows = detail.deliveries.map((entry) => this.aboard(entry)).join("");
    const more = hidden > 0 ? `<li class="more">and ${hidden} more</li>` : "";
    return `<h3>Deliveries <span class="num">${detail.deliveriesCount}</span></h3>${rows ? `<ul class="aboard">${rows}${more}</ul>` : '<p class="state">None assigned.</p>'}`;
  }

  private aboard(entry: Aboard): string {
    return `<li><button type="button" data-do="delivery" data-id="${escape(entry.id)}" data-key="d-${escape(entry.id)}">${glyph(groupOf(statusCode(entry.status)))}<span class="id">${escape(entry.id)}</span>${this.eta(entry.eta, entry.promisedBy)}<span class="sub">${statusName(statusCode(entry.status))}</span></button></li>`;
  }

  private delivery(detail: DeliveryDetail): string {
    const row = (name: string, value: string | null): string => (value ? `<div><dt>${name}</dt><dd>${value}</dd></div>` : "");
    const driver = detail.driver ? `<button type="button" class="textual" data-do="driver" data-id="${escape(detail.driver)}" data-key="driver">${escape(detail.driver)}</button>${detail.assignment === "implied" ? " <small>implied</small>" : ""}` : "none yet";
    const eta = detail.eta ? `${this.eta(detail.eta, detail.promisedBy)} <small class="num">${clock(detail.eta)}</small>` : null;
    const promise = detail.promisedBy ? `<span class="num">${clock(detail.promisedBy)}</span>` : null;
    const rows = row("Courier", driver) + row("ETA", eta) + row("Promised by", promise) + row("Recipient", detail.recipientRef && escape(detail.recipientRef)) + detail.attributes.map(([name, value]) => row(escape(capital(name)), escape(value))).join("");
    const events = [...detail.history].reverse().map((event) => `<li class="g-${groupOf(statusCode(event.status)).key}${event.legal ? "" : " odd"}"><span>${capital(statusName(statusCode(event.status)))}${event.legal ? "" : " <small>out of order</small>"}${event.reason ? ` <small>${escape(event.reason)}</small>` : ""}</span><time class="num" datetime="${escape(event.time)}">${clock(event.time)}</time></li>`).join("");
    return `<dl class="rows">${rows}</dl>${events ? `<h3>Timeline</h3><ol class="timeline">${events}</ol>` : ""}`;
  }

  /** Minutes to go, and by how many it misses the promise. */
  private eta(eta: string | null, promisedBy: string | null): string {
    if (!eta) return "";
    const minutes = Math.round((Date.parse(eta) - this.host.serverNow()) / 60_000);
    const late = promisedBy ? Math.round((Date.parse(eta) - Date.parse(promisedBy)) / 60_000) : 0;
    const words = minutes > 90 ? clock(eta) : minutes > 0 ? `${minutes} min` : "now";
    return `<span class="eta num${late > 0 ? " late" : ""}">${words}${late > 0 ? ` <small>${late} min late</small>` : ""}</span>`;
  }
}

function accuracy(detail: Detail | null): string {
  const metres = detail?.position?.accuracyM;
  return metres ? ` <span class="num">± ${Math.round(metres)} m</span>` : "";
}

function clock(time: string): string {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

function capital(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
