/** Where the map looks and how it gets there; jumps where motion is unwanted. Never decides where to go. */

import { AttributionControl, type Map as MapLibre, NavigationControl, ScaleControl } from "maplibre-gl";
import { ATTRIBUTION } from "./basemap";
import type { Screen } from "./ring";
import { mayGlide } from "./theme";

export function addControls(map: MapLibre, ownStyle: boolean): void {
  map.addControl(new AttributionControl({ compact: false, ...(ownStyle ? {} : { customAttribution: ATTRIBUTION }) }), "bottom-right");
  map.addControl(new ScaleControl({ maxWidth: 90 }), "bottom-right");
  map.addControl(new NavigationControl({ showCompass: false }), "bottom-right");
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
}

/** What is on the screen; longitudes go on beyond 180. */
export function screenOf(map: MapLibre): Screen {
  const bounds = map.getBounds();
  return { west: bounds.getWest(), south: bounds.getSouth(), east: bounds.getEast(), north: bounds.getNorth(), zoom: map.getZoom() };
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

/** Keeps a followed place in the middle of what no panel covers, once it strays from there. */
export function keepCentred(map: MapLibre, lng: number, lat: number): void {
  if (map.isZooming()) return;
  const at = map.project([lng, lat]);
  const { clientWidth: width, clientHeight: height } = map.getContainer();
  const offset: [number, number] = innerWidth >= 640 ? [-22, 0] : [0, -height * 0.22];
  if (Math.hypot(at.x - width / 2 - offset[0], at.y - height / 2 - offset[1]) < 24) return;
  if (mayGlide()) map.easeTo({ center: [lng, lat], offset, duration: 900, easing: (t) => t });
  else map.easeTo({ center: [lng, lat], offset, duration: 0 });
}
