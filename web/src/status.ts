/** The words, colours and shapes for status, link and motion, and the text of ages. Never touches the page. */

import { isLateRisk } from "./wire";

export const STATUS_COUNT = 13;

/** What a group looks like; the number is what the shader draws. */
export const SHAPES = { disc: 0, square: 1, diamond: 2, ring: 3, cross: 4 } as const;
export type Shape = keyof typeof SHAPES;

export interface Group {
  readonly key: string;
  readonly label: string;
  readonly statuses: readonly number[];
  readonly shape: Shape;
  /** For light and dark; each at least 3:1 against the map, and told apart by shape as well as by colour. */
  readonly light: string;
  readonly dark: string;
}

/** Ordered from the quiet to the pressing. */
export const GROUPS: readonly Group[] = [
  { key: "idle", label: "Idle", statuses: [0], shape: "ring", light: "#69727f", dark: "#98a2b3" },
  { key: "waiting", label: "Waiting", statuses: [1, 2], shape: "diamond", light: "#8a6a00", dark: "#e3bb3f" },
  { key: "pickup", label: "To pickup", statuses: [3, 4], shape: "square", light: "#c2410c", dark: "#ff9a4d" },
  { key: "carrying", label: "On the way", statuses: [5, 6], shape: "disc", light: "#1d5fd6", dark: "#6ea8ff" },
  { key: "near", label: "At the door", statuses: [7, 8], shape: "disc", light: "#0b7a5b", dark: "#3ddba8" },
  { key: "done", label: "Delivered", statuses: [9], shape: "ring", light: "#0b7a5b", dark: "#3ddba8" },
  { key: "failed", label: "Failed", statuses: [10, 11, 12], shape: "cross", light: "#b3122f", dark: "#ff6b81" },
];

const NAMES = [
  "idle", "created", "assigned", "en route to pickup", "at pickup", "picked up", "en route", "approaching", "arrived",
  "delivered", "failed", "returned", "cancelled",
] as const;

const WIRE_NAMES = [
  "", "created", "assigned", "en_route_pickup", "at_pickup", "picked_up", "en_route_dropoff", "approaching", "arrived",
  "delivered", "failed", "returned", "cancelled",
] as const;

const GROUP_OF: readonly number[] = Array.from({ length: STATUS_COUNT }, (_, status) =>
  Math.max(0, GROUPS.findIndex((group) => group.statuses.includes(status))),
);

export const LINKS = ["live", "delayed", "stale", "lost"] as const;

export function statusName(status: number): string {
  return NAMES[status] ?? "unknown";
}

/** The number of a status as REST spells it; null and what is unknown are idle. */
export function statusCode(name: string | null | undefined): number {
  return Math.max(0, WIRE_NAMES.indexOf((name ?? "") as (typeof WIRE_NAMES)[number]));
}

export function groupIndex(status: number): number {
  return GROUP_OF[status] ?? 0;
}

export function groupOf(status: number): Group {
  const group = GROUPS[groupIndex(status)] ?? GROUPS[0];
  if (!group) throw new Error("there is at least one group");
  return group;
}

/** The parts of `meta` as `Enter.meta` of the schema packs them. */
export interface Meta {
  status: number;
  link: number;
  moving: boolean;
  headingDeg: number | null;
  speedMps: number;
  /** A delivery aboard, or the one that waits, may miss its promise or has missed it. */
  lateRisk: boolean;
}

export function unpackMeta(meta: number): Meta {
  return {
    status: meta & 15,
    link: (meta >>> 4) & 3,
    moving: (meta & 64) !== 0,
    headingDeg: (meta & 128) !== 0 ? ((meta >>> 8) & 255) * (360 / 256) : null,
    speedMps: ((meta >>> 16) & 255) / 2,
    lateRisk: isLateRisk(meta),
  };
}

/** Short and steady in width: 0.3 s, 12 s, 4 min, 3 h, 2 d. */
export function age(ms: number): string {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** A status as the shape and colour of its marker, for lists and legends; who is at risk of being late has the map's ring around it. */
export function glyph(group: Group, late = false): string {
  const box = late ? "-11 -11 22 22" : "-8 -8 16 16";
  return `<svg class="glyph g-${group.key}" viewBox="${box}" width="${late ? 18 : 14}" height="${late ? 18 : 14}" aria-hidden="true">${GLYPHS[group.shape]}${late ? LATE_RING : ""}</svg>`;
}

/** Late risk is a ring of its own shape, broken at the top right, so that it is told from a selection and without colours. */
const LATE_RING = '<path class="late-ring" d="M2.4-9.1A9.4 9.4 0 1 0 9.1-2.4" fill="none" stroke-width="2.4"/>';

const GLYPHS: Readonly<Record<Shape, string>> = {
  disc: '<circle r="5.5" fill="currentColor"/>',
  square: '<rect x="-5" y="-5" width="10" height="10" rx="2" fill="currentColor"/>',
  diamond: '<path d="M0-6.6 6.6 0 0 6.6-6.6 0Z" fill="currentColor"/>',
  ring: '<circle r="4.4" fill="none" stroke="currentColor" stroke-width="2.4"/>',
  cross: '<path d="M-4.4-4.4 4.4 4.4M4.4-4.4-4.4 4.4" stroke="currentColor" stroke-width="3" stroke-linecap="round"/>',
};

/** For the legend: the ring around nothing in particular. */
export const LATE_GLYPH = `<svg class="glyph" viewBox="-11 -11 22 22" width="14" height="14" aria-hidden="true"><circle r="4" fill="currentColor"/>${LATE_RING}</svg>`;
