/** Where the map looks and how it gets there; jumps where motion is unwanted. Never decides where to go. */

import { AttributionControl, type Map as MapLibre, NavigationControl, ScaleControl } from "maplibre-gl";
import { ATTRIBUTION } from "./basemap";
import type { View } from "./encode";
import { mayGlide } from "./theme";

export function addControls(map: MapLibre, ownStyle: boolean): void {
  map.addControl(new AttributionControl({ compact: false, ...(ownStyle ? {} : { customAttribution: ATTRIBUTION }) }), "bottom-right");
  map.addControl(new ScaleControl({ maxWidth: 90 }), "bottom-right");
  map.addControl(new NavigationControl({ showCompass: false }), "bottom-right");
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
}

/** What is on the screen, as the server wants it said: west may be greater than east. */
export function viewOf(map: MapLibre, statuses: readonly number[]): Omit<View, "viewId"> {
  const bounds = map.getBounds();
  const whole = bounds.getEast() - bounds.getWest() >= 360;
  const wrap = (lng: number): number => ((((lng + 180) % 360) + 360) % 360) - 180;
  return {
    west: whole ? -180 : wrap(bounds.getWest()), south: Math.max(-90, bounds.getSouth()), east: whole ? 180 : wrap(bounds.getEast()),
    north: Math.min(90, bounds.getNorth()), zoom: map.getZoom(), statuses, drivers: [],
  };
}

/** A test for places on the screen, in 1e-7 degrees. */
export function onScreen(map: MapLibre): (latE7: number, lngE7: number) => boolean {
  const bounds = map.getBounds();
  const west = bounds.getWest();
  const width = bounds.getEast() - west;
  const south = bounds.getSouth() * 1e7;
  const north = bounds.getNorth() * 1e7;
  return (latE7, lngE7) => {
    if (latE7 < south || latE7 > north) return false;
    const east = lngE7 / 1e7 - west;
    return east - Math.floor(east / 360) * 360 <= width;
  };
}

export function goTo(map: MapLibre, center: [number, number], zoom: number): void {
  if (mayGlide()) map.flyTo({ center, zoom, speed: 2.2 });
  else map.jumpTo({ center, zoom });
}

/** Moves the map only when the place is out of sight or beneath a panel. */
export function bringIntoView(map: MapLibre, lng: number, lat: number): void {
  const at = map.project([lng, lat]);
  const { clientWidth: width, clientHeight: height } = map.getContainer();
  const wide = innerWidth >= 640;
  const free = { left: wide ? 340 : 24, right: wide ? width - 384 : width - 24, top: 48, bottom: wide ? height - 48 : height * 0.45 };
  if (at.x > free.left && at.x < free.right && at.y > free.top && at.y < free.bottom) return;
  const offset: [number, number] = wide ? [-22, 0] : [0, -height * 0.22];
  if (mayGlide()) map.easeTo({ center: [lng, lat], offset, duration: 500 });
  else map.jumpTo({ center: [lng, lat] });
}

/** Keeps a followed place in the middle, once it strays from there. */
export function keepCentred(map: MapLibre, lng: number, lat: number): void {
  if (map.isZooming()) return;
  const at = map.project([lng, lat]);
  const { clientWidth: width, clientHeight: height } = map.getContainer();
  if (Math.hypot(at.x - width / 2, at.y - height / 2) < 24) return;
  if (mayGlide()) map.easeTo({ center: [lng, lat], duration: 900, easing: (t) => t });
  else map.jumpTo({ center: [lng, lat] });
}
