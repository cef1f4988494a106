/** What of the map is wished for, its spelling in the address, and what the server would refuse. Pure; knows no page. */

import type { Filter } from "./encode";
import { GROUPS } from "./status";

/** As the page chooses it: whole groups of statuses, and ids and tags that the server takes. */
export interface Wish {
  readonly groups: readonly number[];
  readonly drivers: readonly string[];
  readonly tags: readonly string[];
  readonly lateRisk: boolean;
}

export const EVERYTHING: Wish = { groups: [], drivers: [], tags: [], lateRisk: false };

/** The server's bounds: over them it ends the session, so nothing beyond them is ever sent. */
const MOST_DRIVERS = 256;
const MOST_TAGS = 64;
const ID_BYTES = 64;
const NAME_BYTES = 64;
const VALUE_BYTES = 256;

const utf8 = new TextEncoder();
const fits = (text: string, bytes: number): boolean => text !== "" && utf8.encode(text).length <= bytes;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

export function isDriver(text: string): boolean {
  return fits(text, ID_BYTES) && !CONTROL.test(text);
}

/** `name=value` or `name`. */
export function isTag(text: string): boolean {
  const at = text.indexOf("=");
  const [name, value] = at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
  return fits(name, NAME_BYTES) && !CONTROL.test(text) && (value === null || utf8.encode(value).length <= VALUE_BYTES);
}

export function isEverything({ groups, drivers, tags, lateRisk }: Wish): boolean {
  return groups.length + drivers.length + tags.length === 0 && !lateRisk;
}

/** In one order and without repetition, so that equal wishes are one lens of the server. All groups are as good as none. */
export function canonical(wish: Wish): Wish {
  const groups = [...new Set(wish.groups)].filter((index) => index in GROUPS).sort((a, b) => a - b);
  const texts = (all: readonly string[], takes: (text: string) => boolean, most: number): string[] => [...new Set(all.map((text) => text.trim()))].filter(takes).sort().slice(0, most);
  return {
    groups: groups.length === GROUPS.length ? [] : groups,
    drivers: texts(wish.drivers, isDriver, MOST_DRIVERS), tags: texts(wish.tags, isTag, MOST_TAGS), lateRisk: wish.lateRisk,
  };
}

export function filterOf({ groups, drivers, tags, lateRisk }: Wish): Filter {
  return { statuses: groups.flatMap((index) => GROUPS[index]?.statuses ?? []), drivers, tags, lateRisk };
}

export function sameWish(a: Wish, b: Wish): boolean {
  return JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));
}

const NAMES = ["status", "driver", "tag", "late"] as const;

/** From an address that a colleague sent; what is unknown there is passed over. */
export function wishFrom(search: string): Wish {
  const asked = new URLSearchParams(search);
  const keys = asked.getAll("status").flatMap((value) => value.split(","));
  return canonical({
    groups: GROUPS.flatMap((group, index) => (keys.includes(group.key) ? [index] : [])),
    drivers: asked.getAll("driver"), tags: asked.getAll("tag"), lateRisk: asked.get("late") === "1",
  });
}

/** Writes the wish into the address's parameters and leaves the others as they are. */
export function writeWish(search: URLSearchParams, { groups, drivers, tags, lateRisk }: Wish): void {
  for (const name of NAMES) search.delete(name);
  if (groups.length > 0) search.set("status", groups.map((index) => GROUPS[index]?.key ?? "").join(","));
  for (const driver of drivers) search.append("driver", driver);
  for (const tag of tags) search.append("tag", tag);
  if (lateRisk) search.set("late", "1");
}
