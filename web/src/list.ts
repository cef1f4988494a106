/** The list of what is in view, equal to the map for those who cannot use the map, and its search. Never fetches. */

import { short } from "./clusters";
import { element } from "./connection";
import { age, glyph, groupOf, LINKS, statusName, unpackMeta } from "./status";
import type { Marker } from "./store";
import { isLateRisk } from "./wire";

const ROWS = 120;

export interface ListHost {
  open(marker: Marker): void;
  /** Nothing held has this id: look it up. */
  find(id: string): void;
  clearFilter(): void;
  /** The search is another one: asks for `show` with what is held now. */
  search(): void;
}

export interface Shown {
  readonly inView: readonly Marker[];
  readonly total: number;
  /** At this level of detail there are no single markers. */
  readonly countsOnly: boolean;
  readonly filtered: boolean;
  readonly loading: boolean;
}

export class List {
  readonly search = element("search") as HTMLInputElement;
  private readonly list = element("list");
  private readonly count = element("list-count");
  private readonly title = element("list-title");
  private rows: Marker[] = [];
  private active = -1;
  private selected = "";
  private readonly htmlOf = new WeakMap<Element, string>();

  constructor(private readonly host: ListHost) {
    this.search.oninput = () => {
      this.active = -1;
      this.host.search();
    };
    this.search.onkeydown = (event) => this.searchKey(event);
    this.list.onclick = (event) => {
      const target = event.target as Element;
      if (target.closest("[data-clear]")) return this.host.clearFilter();
      const row = target.closest<HTMLElement>("[data-row]");
      const marker = this.rows[Number(row?.dataset["row"] ?? -1)];
      if (marker) this.host.open(marker);
    };
    this.list.onkeydown = (event) => {
      if (event.key === "ArrowDown") this.step(1);
      else if (event.key === "ArrowUp") this.step(-1);
      else if (event.key === "Enter" && event.target === this.list) this.openActive();
      else return;
      event.preventDefault();
    };
  }

  select(id: string): void {
    if (this.selected === id) return;
    this.selected = id;
    this.host.search();
  }

  step(by: number): void {
    if (this.rows.length === 0) return;
    this.active = Math.max(0, Math.min(this.rows.length - 1, this.active + by));
    this.mark();
  }

  openActive(): boolean {
    const marker = this.rows[this.active];
    if (marker) this.host.open(marker);
    return marker !== undefined;
  }

  show({ inView, total, countsOnly, filtered, loading }: Shown, now: number): void {
    const wanted = this.search.value.trim().toLowerCase();
    const matching = wanted === "" ? [...inView] : inView.filter((marker) => marker.id.toLowerCase().includes(wanted));
    this.title.textContent = wanted !== "" ? "Matching" : filtered ? "In view, filtered" : "In view";
    this.count.textContent = loading ? "" : (wanted === "" ? total : matching.length).toLocaleString("en");
    if (loading) return this.skeleton();
    if (total === 0 && filtered) return this.note("Nothing in view matches the filter.", true);
    if (countsOnly) return this.note(total === 0 ? "Nothing here now." : "Zoom in to see each courier.");
    if (matching.length === 0) {
      return this.note(wanted === "" ? "Nothing here now. Zoom out to see where couriers are." : `Not in view. Press Enter to look for “${this.search.value.trim()}” everywhere.`);
    }
    const activeId = this.rows[this.active]?.id;
    this.rows = matching.sort(byUrgency).slice(0, ROWS);
    this.active = activeId === undefined ? -1 : this.rows.findIndex((row) => row.id === activeId);
    const more = matching.length - this.rows.length;
    this.rows.forEach((row, index) => this.drawRow(row, index, now));
    while (this.list.childElementCount > this.rows.length) this.list.lastElementChild?.remove();
    if (more > 0) this.list.append(line("more", `and ${short(more)} more: search or zoom in`));
    this.mark(false);
  }

  /** Rows stay in place and only their content changes: one that is being clicked must not be another element by then. */
  private drawRow(marker: Marker, index: number, now: number): void {
    let row = this.list.children[index] as HTMLElement | undefined;
    if (row?.dataset["row"] === undefined) {
      const made = line("row", "");
      made.setAttribute("role", "option");
      made.dataset["row"] = String(index);
      made.id = `row-${index}`;
      if (row) row.replaceWith(made);
      else this.list.append(made);
      row = made;
    }
    row.setAttribute("aria-selected", String(marker.id === this.selected));
    const html = rowHtml(marker, now);
    if (this.htmlOf.get(row) === html) return;
    this.htmlOf.set(row, html);
    row.innerHTML = html;
  }

  private note(words: string, mayClear = false): void {
    this.rows = [];
    this.active = -1;
    const shown = this.list.firstElementChild;
    // What is said already stays: the button in it may have the focus.
    if (shown?.className === "note" && this.list.childElementCount === 1 && shown.firstChild?.textContent === words) return;
    const note = line("note", words);
    if (mayClear) note.append(Object.assign(document.createElement("button"), { type: "button", textContent: "Clear the filter" }));
    note.querySelector("button")?.setAttribute("data-clear", "");
    this.list.replaceChildren(note);
  }

  private skeleton(): void {
    this.rows = [];
    this.list.innerHTML = '<li class="skeleton" role="presentation"></li>'.repeat(6);
  }

  private mark(scroll = true): void {
    this.list.querySelector(".active")?.classList.remove("active");
    const row = this.list.querySelector<HTMLElement>(`[data-row="${this.active}"]`);
    row?.classList.add("active");
    if (row && scroll) row.scrollIntoView({ block: "nearest" });
    if (row) this.list.setAttribute("aria-activedescendant", row.id);
    else this.list.removeAttribute("aria-activedescendant");
  }

  private searchKey(event: KeyboardEvent): void {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      this.step(event.key === "ArrowDown" ? 1 : -1);
      event.preventDefault();
    } else if (event.key === "Enter") {
      const wanted = this.search.value.trim();
      if (this.active < 0) this.step(1);
      if (!this.openActive() && wanted !== "") this.host.find(wanted);
      // So that the next keys are commands again.
      this.list.focus({ preventScroll: true });
      event.preventDefault();
    } else if (event.key === "Escape") {
      this.search.value = "";
      this.search.blur();
      this.host.search();
      event.stopPropagation();
    }
  }
}

/** Who fell silent, failed or will be late comes first; then by id, so that rows do not jump about. */
function byUrgency(a: Marker, b: Marker): number {
  return urgency(b) - urgency(a) || (a.id < b.id ? -1 : 1);
}

function urgency(marker: Marker): number {
  const link = (marker.meta >>> 4) & 3;
  return (link >= 2 ? link : (marker.meta & 15) >= 10 ? 1 : 0) + (isLateRisk(marker.meta) ? 1 : 0);
}

function line(name: string, words: string): HTMLLIElement {
  const li = document.createElement("li");
  li.className = name;
  li.setAttribute("role", "presentation");
  li.textContent = words;
  return li;
}

function rowHtml(marker: Marker, now: number): string {
  const meta = unpackMeta(marker.meta);
  const quiet = meta.link === 0 ? "" : ` <em class="link-${meta.link}">${LINKS[meta.link] ?? ""} ${age(now - marker.heardMs)}</em>`;
  const right = marker.driver ? (meta.moving && meta.speedMps > 0 ? `${Math.round(meta.speedMps * 3.6)} km/h` : meta.moving ? "moving" : "stopped") : "delivery";
  const aboard = marker.driver && marker.aboard > 1 ? ` · ${marker.aboard} deliveries` : "";
  const late = meta.lateRisk ? ' <em class="late">late risk</em>' : "";
  return `${glyph(groupOf(meta.status), meta.lateRisk)}<span class="id">${escape(marker.id)}</span><span class="side num">${right}</span><span class="sub">${statusName(meta.status)}${aboard}${late}${quiet}</span>`;
}

export function escape(raw: string): string {
  return raw.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
