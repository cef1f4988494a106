/** Where the map looks and what is wished for, kept in the address so that it can be sent to a colleague. Holds no credential. */

import { type Wish, writeWish } from "./filter";

export interface Place {
  zoom: number;
  lat: number;
  lng: number;
}

/** `at=zoom/lat/lng`; null when there is none or it is none. */
export function placeFrom(search: string): Place | null {
  const parts = (new URLSearchParams(search).get("at") ?? "").split("/").map(Number);
  const [zoom, lat, lng] = parts;
  if (zoom === undefined || lat === undefined || lng === undefined || parts.some((part) => !Number.isFinite(part))) return null;
  return Math.abs(lat) <= 90 && Math.abs(lng) <= 180 && zoom >= 0 && zoom <= 22 ? { zoom, lat, lng } : null;
}

export function placeText({ zoom, lat, lng }: Place): string {
  return `${zoom.toFixed(2)}/${lat.toFixed(5)}/${lng.toFixed(5)}`;
}

export function keepPlace(place: Place, wish: Wish): void {
  const search = new URLSearchParams(location.search);
  search.set("at", placeText(place));
  writeWish(search, wish);
  history.replaceState(null, "", `${location.pathname}?${search.toString().replaceAll("%2F", "/")}`);
}
