/** Starts the page: credential, map, dashboard. Nothing else lives here. */

import "@fontsource-variable/inter/index.css";
import "maplibre-gl/dist/maplibre-gl.css";
import "./style.css";
import { Map as MapLibre, setWorkerUrl } from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";
import { askForKey, signInFromAddress } from "./auth";
import { fill, offlineStyle } from "./basemap";
import { screenOf } from "./camera";
import { element } from "./connection";
import { Dashboard } from "./dashboard";
import { placeFrom } from "./place";
import { theme, writeColours } from "./theme";

const GOTHENBURG = { zoom: 12.4, lat: 57.7045, lng: 11.9625 };

declare global {
  interface Window {
    /** For tests and the curious: reads, never writes. */
    __waypost?: Readonly<{
      inspect: () => Readonly<Record<string, unknown>>;
      positions: () => Readonly<Record<string, readonly [number, number]>>;
      /** What the map shows of the world now, and whether a marker is drawn there. */
      screen: () => Readonly<{ west: number; south: number; east: number; north: number; zoom: number }>;
      draws: (id: string) => boolean;
    }>;
  }
}

async function main(): Promise<void> {
  performance.mark("waypost: main");
  setWorkerUrl(workerUrl);
  writeColours();
  const [signedIn, styleUrl] = await Promise.all([signInFromAddress(), configuredStyle()]);
  const map = createMap(styleUrl);
  // Listened for from the start: while someone types a key the style loads, and says so only once.
  const ready = styleReady(map);
  if (signedIn.kind === "ask") await askForKey(element("sign-in") as HTMLDialogElement, signedIn.problem);
  await ready;
  performance.mark("waypost: style");
  if (styleUrl === null) fill(map).catch((error: unknown) => console.error("waypost: the base map did not load", error));
  const live = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/v1/live`;
  const dashboard = new Dashboard(map, live, styleUrl !== null);
  const { picture } = dashboard;
  window.__waypost = Object.freeze({ inspect: () => dashboard.inspect(), positions: () => picture.positions(), screen: () => screenOf(map), draws: (id) => picture.draws(id) });
  dashboard.start();
}

function createMap(styleUrl: string | null): MapLibre {
  const { zoom, lat, lng } = placeFrom(location.search) ?? GOTHENBURG;
  return new MapLibre({
    container: "map", style: styleUrl ?? offlineStyle(theme()), center: [lng, lat], zoom, minZoom: 1, maxZoom: 19, attributionControl: false,
    dragRotate: false, pitchWithRotate: false, maxPitch: 0, fadeDuration: 0,
  });
}

/** Layers can be added from here on; waiting for the map's `idle` would wait for all of its data. */
function styleReady(map: MapLibre): Promise<void> {
  return new Promise((resolve) => {
    if (map.isStyleLoaded()) resolve();
    else map.once("style.load", () => resolve());
  });
}

/** A style that the operator chose; null is the offline map. Servers that know no such route have none. */
async function configuredStyle(): Promise<string | null> {
  try {
    const response = await fetch("/v1/config", { signal: AbortSignal.timeout(1_500) });
    const body: unknown = response.ok ? await response.json() : null;
    return typeof body === "object" && body !== null && "style_url" in body && typeof body.style_url === "string" ? body.style_url : null;
  } catch {
    return null;
  }
}

main().catch((error: unknown) => {
  console.error(error);
  const problem = document.createElement("p");
  problem.className = "fatal";
  problem.textContent = `The map cannot start: ${error instanceof Error ? error.message : "unknown problem"}. It needs WebGL 2.`;
  document.body.append(problem);
});
