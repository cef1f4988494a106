/** The list of what is in view, equal to the map for those who cannot use the map, and its search and filter. Never fetches. */

import { short } from "./clusters";
import { element } from "./connection";
import { age, glyph, groupIndex, groupOf, GROUPS, LINKS, statusName, unpackMeta } from "./status";
import type { Marker } from "./store";

const ROWS = 120;

export interface ListHost {
  open(marker: Marker): void;
  /** Nothing held has this id: look it up. */
  find(id: string): void;
  filter(statuses: readonly number[]): void;
}

export class List {
  readonly search = element("search") as HTMLInputElement;
  private readonly list = element("list");
  private readonly count = element("list-count");
  private readonly title = element("list-title");
  private readonly filters = element("filters");
  private rows: Marker[] = [];
  private active = -1;
  private readonly chosen = new Set<number>();
  private selected = "";
  private readonly htmlOf = new WeakMap<Element, string>();

  constructor(private readonly host: ListHost) {
    this.search.oninput = () => {
      this.active = -1;
      this.onSearch();
    };
    this.search.onkeydown = (event) => this.searchKey(event);
    this.list.onclick = (event) => {
      const row = (event.target as Element).closest<HTMLElement>("[data-row]");
      const marker = this.rows[Number(row?.dataset["row"] ?? -1)];
      if (marker) this.host.open(marker);
    };
    this.list.onkeydown = (event) => {
      if (event.key === "ArrowDown") this.step(1);
      else if (event.key === "ArrowUp") this.step(-1);
      else if (event.key === "Enter") this.openActive();
      else return;
      event.preventDefault();
    };
    this.drawFilters(GROUPS.map(() => 0));
    this.filters.onclick = (event) => this.toggle((event.target as Element).closest<HTMLElement>("[data-group]"));
  }

  /** Set by the page: asks for `show` with what is held now. */
  onSearch: () => void = () => undefined;

  select(id: string): void {
    this.selected = id;
    this.onSearch();
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

  /** `counts`: markers by status as the server counted them, at levels that have no single markers. */
  show(inView: readonly Marker[], counts: readonly number[] | null, loading: boolean, now: number): void {
    const byGroup = GROUPS.map(() => 0);
    const add = (status: number, markers: number): void => {
      const group = groupIndex(status);
      byGroup[group] = (byGroup[group] ?? 0) + markers;
    };
    if (counts) counts.forEach((markers, status) => add(status, markers));
    else for (const marker of inView) add(marker.meta & 15, 1);
    this.drawFilters(byGroup);
    const total = byGroup.reduce((sum, markers) => sum + markers, 0);
    const wanted = this.search.value.trim().toLowerCase();
    const matching = wanted === "" ? [...inView] : inView.filter((marker) => marker.id.toLowerCase().includes(wanted));
    this.title.textContent = wanted === "" ? "In view" : "Matching";
    this.count.textContent = loading ? "" : (wanted === "" ? total : matching.length).toLocaleString("en");
    if (counts) return this.note("Zoom in to see each courier.");
    if (loading) return this.skeleton();
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

  private note(words: string): void {
    this.rows = [];
    this.active = -1;
    this.list.replaceChildren(line("note", words));
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
      this.onSearch();
      event.stopPropagation();
    }
  }

  private toggle(button: HTMLElement | null): void {
    if (!button) return;
    const group = Number(button.dataset["group"]);
    if (group < 0) this.chosen.clear();
    else if (!this.chosen.delete(group)) this.chosen.add(group);
    if (this.chosen.size === GROUPS.length) this.chosen.clear();
    this.host.filter([...this.chosen].flatMap((index) => GROUPS[index]?.statuses ?? []));
    this.onSearch();
  }

  private drawFilters(byGroup: readonly number[]): void {
    if (this.filters.childElementCount === 0) {
      this.filters.innerHTML = GROUPS.map((group, index) => `<button type="button" data-group="${index}" aria-pressed="false">${glyph(group)}<span>${group.label}</span><b class="num"></b></button>`).join("") + '<button type="button" class="clear" data-group="-1" hidden>Show all</button>';
    }
    const clear = this.filters.lastElementChild as HTMLElement;
    clear.hidden = this.chosen.size === 0;
    GROUPS.forEach((_, index) => {
      const button = this.filters.children[index];
      if (!button) return;
      const pressed = this.chosen.has(index);
      button.setAttribute("aria-pressed", String(pressed));
      button.classList.toggle("out", this.chosen.size > 0 && !pressed);
      const number = button.querySelector("b");
      if (number) number.textContent = short(byGroup[index] ?? 0);
    });
  }
}

/** Who fell silent or failed comes first; then by id, so that rows do not jump about. */
function byUrgency(a: Marker, b: Marker): number {
  return urgency(b) - urgency(a) || (a.id < b.id ? -1 : 1);
}

function urgency(marker: Marker): number {
  const link = (marker.meta >>> 4) & 3;
  return link >= 2 ? link : (marker.meta & 15) >= 10 ? 1 : 0;
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
  return `${glyph(groupOf(meta.status))}<span class="id">${escape(marker.id)}</span><span class="side num">${right}</span><span class="sub">${statusName(meta.status)}${aboard}${quiet}</span>`;
}

export function escape(raw: string): string {
  return raw.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
