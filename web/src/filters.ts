/** The control that says what is wished for: statuses (also the legend), late risk, drivers and tags. Never filters anything itself: the server does. */

import { short } from "./clusters";
import { element } from "./connection";
import { canonical, EVERYTHING, isDriver, isEverything, isTag, sameWish, type Wish } from "./filter";
import { escape } from "./list";
import { glyph, GROUPS, LATE_GLYPH } from "./status";

/** The chip after those of the groups. */
const LATE = GROUPS.length;

interface Field {
  readonly name: "drivers" | "tags";
  readonly label: string;
  readonly input: HTMLInputElement;
  readonly takes: (text: string) => boolean;
  readonly problem: string;
}

export class Filters {
  wish: Wish;
  private readonly chips = element("filters");
  private readonly tokens = element("tokens");
  private readonly more = element("more-open");
  private readonly body = element("more-body");
  private readonly problem = element("filter-problem");
  private readonly clearButton = element("clear-filters");
  private readonly mapChip = element("filter-chip");
  private readonly fields: readonly Field[] = [
    { name: "drivers", label: "driver", input: element("filter-driver") as HTMLInputElement, takes: isDriver, problem: "A driver's id has at most 64 bytes." },
    { name: "tags", label: "tag", input: element("filter-tag") as HTMLInputElement, takes: isTag, problem: "A tag is name=value, or a name alone." },
  ];

  constructor(wish: Wish, private readonly onWish: (wish: Wish) => void) {
    this.wish = wish;
    const chip = (index: number, picture: string, label: string): string =>
      `<button type="button" data-chip="${index}" aria-pressed="false">${picture}<span>${label}</span><b class="num"></b></button>`;
    this.chips.innerHTML = GROUPS.map((group, index) => chip(index, glyph(group), group.label)).join("") + chip(LATE, LATE_GLYPH, "Late risk");
    this.chips.onclick = (event) => this.toggle((event.target as Element).closest<HTMLElement>("[data-chip]"));
    this.more.onclick = () => this.unfold(this.body.hidden);
    this.clearButton.onclick = this.mapChip.onclick = () => this.clear();
    this.tokens.onclick = (event) => this.removeToken((event.target as Element).closest<HTMLElement>("[data-token]"));
    for (const field of this.fields) {
      field.input.onchange = () => this.take(field);
      field.input.onkeydown = (event) => this.key(field, event);
    }
    if (wish.drivers.length + wish.tags.length > 0) this.unfold(true);
    this.draw();
  }

  get isSet(): boolean {
    return !isEverything(this.wish);
  }

  clear(): void {
    for (const { input } of this.fields) input.value = "";
    this.problem.textContent = "";
    this.set(EVERYTHING);
  }

  /** Markers in view by group, and how many of them are at risk; null where the map has counts only. */
  show(byGroup: readonly number[], late: number | null, nothing: boolean): void {
    [...byGroup, late].forEach((markers, index) => {
      const number = this.chips.children[index]?.querySelector("b");
      // What the filter leaves out is not counted, and that is not none.
      const leftOut = index < LATE && this.wish.groups.length > 0 && !this.wish.groups.includes(index);
      const words = markers === null || leftOut ? "" : short(markers ?? 0);
      if (number && number.textContent !== words) number.textContent = words;
    });
    const words = nothing ? "Nothing here matches the filter" : "Filtered";
    const label = this.mapChip.firstElementChild;
    if (label && label.textContent !== words) label.textContent = words;
  }

  private set(wish: Wish): void {
    const next = canonical(wish);
    const changed = !sameWish(next, this.wish);
    this.wish = next;
    this.draw();
    if (changed) this.onWish(next);
  }

  private toggle(button: HTMLElement | null): void {
    if (!button) return;
    const index = Number(button.dataset["chip"]);
    if (index === LATE) return this.set({ ...this.wish, lateRisk: !this.wish.lateRisk });
    const { groups } = this.wish;
    this.set({ ...this.wish, groups: groups.includes(index) ? groups.filter((other) => other !== index) : [...groups, index] });
  }

  /** Takes what is typed, once it is finished: each wish is a lens of the server, so not at every letter. */
  private take({ name, input, takes, problem }: Field): void {
    const texts = input.value.split(",").map((text) => text.trim()).filter((text) => text !== "");
    const wrong = texts.find((text) => !takes(text));
    input.setAttribute("aria-invalid", String(wrong !== undefined));
    this.problem.textContent = wrong === undefined ? "" : problem;
    if (wrong !== undefined || texts.length === 0) return;
    input.value = "";
    this.set({ ...this.wish, [name]: [...this.wish[name], ...texts] });
  }

  private key(field: Field, event: KeyboardEvent): void {
    if (event.key === "Enter") this.take(field);
    else if (event.key === "Escape") {
      field.input.value = "";
      this.problem.textContent = "";
      field.input.blur();
      event.stopPropagation();
    } else if (event.key === "Backspace" && field.input.value === "") {
      this.set({ ...this.wish, [field.name]: this.wish[field.name].slice(0, -1) });
    }
  }

  private removeToken(button: HTMLElement | null): void {
    const [name, index] = (button?.dataset["token"] ?? "").split(":");
    const field = this.fields.find((known) => known.name === name);
    if (!field) return;
    this.set({ ...this.wish, [field.name]: this.wish[field.name].filter((_, at) => at !== Number(index)) });
    field.input.focus();
  }

  private unfold(open: boolean): void {
    this.body.hidden = !open;
    this.more.setAttribute("aria-expanded", String(open));
  }

  private draw(): void {
    const { groups, lateRisk } = this.wish;
    [...this.chips.children].forEach((button, index) => {
      const pressed = index === LATE ? lateRisk : groups.includes(index);
      button.setAttribute("aria-pressed", String(pressed));
      button.classList.toggle("out", index !== LATE && groups.length > 0 && !pressed);
    });
    this.tokens.innerHTML = this.fields
      .flatMap(({ name, label }) => this.wish[name].map((text, index) =>
        `<li><button type="button" data-token="${name}:${index}" aria-label="Remove ${label} ${escape(text)} from the filter"><small>${label}</small><span>${escape(text)}</span><i aria-hidden="true">×</i></button></li>`))
      .join("");
    this.clearButton.hidden = this.mapChip.hidden = !this.isSet;
  }
}
