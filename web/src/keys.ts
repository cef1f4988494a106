/** The keyboard: every task without a mouse. Holds no state. */

import { element } from "./connection";
import type { Filters } from "./filters";
import type { Focus } from "./focus";
import type { List } from "./list";

export interface Keyed {
  readonly list: List;
  readonly filters: Filters;
  readonly focus: Focus;
}

export function bindKeys(page: Keyed): void {
  const help = element("help") as HTMLDialogElement;
  element("help-open").onclick = () => help.showModal();
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target instanceof HTMLInputElement;
    if (typing && event.key !== "Escape") return;
    if (act(page, help, event)) event.preventDefault();
  });
}

function act(page: Keyed, help: HTMLDialogElement, event: KeyboardEvent): boolean {
  switch (event.key) {
    case "/":
      page.list.search.focus();
      page.list.search.select();
      return true;
    case "j":
    case "k":
      page.list.step(event.key === "j" ? 1 : -1);
      return true;
    case "Enter":
      return event.target === document.body || event.target instanceof HTMLCanvasElement ? page.list.openActive() : false;
    case "f":
      page.focus.toggleFollow();
      return true;
    case "x":
      page.filters.clear();
      return true;
    case "?":
      help.showModal();
      return true;
    case "Escape":
      return page.focus.escape();
    default:
      return false;
  }
}
