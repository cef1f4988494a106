/** Light or dark, and still or moving, as the system says. Never draws. */

import type { Palette } from "./layer";
import type { Theme } from "./basemap";
import { GROUPS } from "./status";

const DARK = matchMedia("(prefers-color-scheme: dark)");
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

export function theme(): Theme {
  return DARK.matches ? "dark" : "light";
}

export function mayGlide(): boolean {
  return !STILL.matches;
}

export function onPreference(changed: () => void): void {
  DARK.addEventListener("change", changed);
  STILL.addEventListener("change", changed);
}

/** A sheet made in code: the page's content policy takes no inline style. Made when first needed, for there is none without a document. */
let colours: CSSStyleSheet | undefined;

/** Of late risk: no status has it, and it is told by the shape of its ring before it is told by this. */
const LATE = { light: "#b4127a", dark: "#ff7ac6" } as const;

/** The status colours as custom properties, so that lists, rings and markers cannot differ. */
export function writeColours(): void {
  if (!colours) {
    colours = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, colours];
  }
  colours.replaceSync(`${GROUPS.map((group) => `.g-${group.key}{color:${group[theme()]}}`).join("")}:root{--late:${LATE[theme()]}}`);
}

export function palette(): Palette {
  const dark = theme() === "dark";
  return {
    colours: Array.from({ length: 8 }, (_, index) => rgb(GROUPS[index]?.[theme()] ?? "#000000")),
    surface: rgb(dark ? "#0d1015" : "#ffffff"),
    accent: rgb(dark ? "#e8ecf2" : "#10151c"),
    late: rgb(LATE[theme()]),
  };
}

function rgb(hex: string): [number, number, number] {
  const value = Number.parseInt(hex.slice(1), 16);
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}
