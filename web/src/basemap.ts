/** The offline map beneath the markers: coastlines, borders and the roads of one city, in light and dark. Never asks another server. */

import type { Feature, FeatureCollection, MultiLineString, Position } from "geojson";
import type { LayerSpecification, Map as MapLibre, StyleSpecification } from "maplibre-gl";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import { roadsUrl, worldUrl } from "virtual:basemap";

export type Theme = "light" | "dark";

export const ATTRIBUTION = '© <a href="https://www.openstreetmap.org/copyright">OpenStreetMap</a> contributors, ODbL';

const INK = {
  light: { water: "#d3dde6", land: "#e9ebed", border: "#c3cad2", coast: "#b6c3cf", casing: "#cfd5da", road: "#ffffff", major: "#ffffff", highway: "#f9e3bd", highwayCasing: "#d6bb8a", service: "#f4f5f6" },
  dark: { water: "#0b0e13", land: "#15191f", border: "#2d3540", coast: "#2f3945", casing: "#0e1115", road: "#29313b", major: "#353f4b", highway: "#4a5462", highwayCasing: "#101318", service: "#1c222a" },
} as const;

const RANK: Readonly<Record<string, string>> = {
  motorway: "highway", motorway_link: "ramp", trunk: "highway", trunk_link: "ramp", primary: "major", primary_link: "major",
  secondary: "major", secondary_link: "major", tertiary: "mid", tertiary_link: "mid", residential: "minor", unclassified: "minor",
  living_street: "minor", service: "service",
};

interface Way {
  c: string;
  p: number[];
}

/** The style without its data; `fill` brings that, so that the first frame does not wait for it. */
export function offlineStyle(theme: Theme): StyleSpecification {
  const empty: FeatureCollection = { type: "FeatureCollection", features: [] };
  return {
    version: 8,
    sources: {
      land: { type: "geojson", data: empty, maxzoom: 7, tolerance: 0.2 },
      borders: { type: "geojson", data: empty, maxzoom: 7 },
      roads: { type: "geojson", data: empty, maxzoom: 15, tolerance: 0.2, buffer: 32, attribution: ATTRIBUTION },
    },
    layers: layers(theme),
  };
}

/** Recolours the offline style in place. */
export function setTheme(map: MapLibre, theme: Theme): void {
  for (const layer of layers(theme)) {
    if (!map.getLayer(layer.id)) continue;
    for (const [name, value] of Object.entries(layer.paint ?? {})) map.setPaintProperty(layer.id, name as "fill-color", value as string);
  }
}

export async function fill(map: MapLibre): Promise<void> {
  await Promise.all([fillWorld(map), fillRoads(map)]);
}

async function fillWorld(map: MapLibre): Promise<void> {
  const world = (await gunzipJson(worldUrl)) as Topology<{ land: GeometryCollection; countries: GeometryCollection }>;
  const polygons = feature(world, world.objects.land).features.flatMap(({ geometry }) =>
    geometry.type === "MultiPolygon" ? geometry.coordinates : geometry.type === "Polygon" ? [geometry.coordinates] : [],
  );
  const coordinates = polygons.map((rings) => rings.map(unwrap));
  setData(map, "land", { type: "Feature", properties: {}, geometry: { type: "MultiPolygon", coordinates } });
  const lines = mesh(world, world.objects.countries, (a, b) => a !== b).coordinates.map(unwrap);
  setData(map, "borders", { type: "Feature", properties: {}, geometry: { type: "MultiLineString", coordinates: lines } });
}

/** Coastlines are made for a globe and jump at the antimeridian; on a flat map they go on beyond it, and the map wraps them. The pole's own edge may jump. */
export function unwrap(line: readonly Position[]): Position[] {
  let turns = 0;
  let before: number | undefined;
  return line.map(([lng = 0, lat = 0]) => {
    if (before !== undefined && Math.abs(lng - before) > 180 && lat > -89) turns += lng < before ? 360 : -360;
    before = lng;
    return [lng + turns, lat];
  });
}

async function fillRoads(map: MapLibre): Promise<void> {
  const { ways } = (await gunzipJson(roadsUrl)) as { ways: Way[] };
  setData(map, "roads", roadLines(ways));
}

/** One feature a rank: the map needs no more to draw them. */
export function roadLines(ways: readonly Way[]): FeatureCollection<MultiLineString> {
  const lines = new Map<string, Position[][]>();
  for (const way of ways) {
    const rank = RANK[way.c] ?? "minor";
    let of = lines.get(rank);
    if (!of) lines.set(rank, (of = []));
    of.push(points(way.p));
  }
  const features = [...lines].map(([rank, coordinates]): Feature<MultiLineString> => ({
    type: "Feature", properties: { rank }, geometry: { type: "MultiLineString", coordinates },
  }));
  return { type: "FeatureCollection", features };
}

function points(deltas: readonly number[]): Position[] {
  const out: Position[] = [];
  let lat = 0;
  let lng = 0;
  for (let i = 0; i + 1 < deltas.length; i += 2) {
    lat += deltas[i] ?? 0;
    lng += deltas[i + 1] ?? 0;
    out.push([lng / 1e5, lat / 1e5]);
  }
  return out;
}

async function gunzipJson(url: string): Promise<unknown> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const bytes = await response.blob();
  // A server before ours may have declared the file's packing as the transfer's, and then it is unpacked already.
  const [first, second] = new Uint8Array(await bytes.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return JSON.parse(await bytes.text());
  return new Response(bytes.stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function setData(map: MapLibre, source: string, data: Feature | FeatureCollection): void {
  const found = map.getSource(source);
  if (found && "setData" in found) (found as unknown as { setData(data: unknown): void }).setData(data);
}

type Widths = readonly (readonly [zoom: number, px: number])[];

function widths(stops: Widths): ["interpolate", ["exponential", number], ["zoom"], ...number[]] {
  return ["interpolate", ["exponential", 1.5], ["zoom"], ...stops.flat()];
}

const ROADS: readonly { rank: string; from: number; colour: "road" | "major" | "highway" | "service"; width: Widths }[] = [
  { rank: "service", from: 14, colour: "service", width: [[14, 0.4], [16, 2.4], [18, 7]] },
  { rank: "minor", from: 11, colour: "road", width: [[11, 0.5], [13, 1.2], [15, 3.6], [18, 16]] },
  { rank: "mid", from: 10, colour: "road", width: [[10, 0.5], [13, 1.7], [15, 5], [18, 20]] },
  { rank: "ramp", from: 11, colour: "highway", width: [[11, 0.5], [13, 1.4], [15, 4], [18, 15]] },
  { rank: "major", from: 9, colour: "major", width: [[9, 0.5], [12, 1.6], [14, 4], [18, 24]] },
  { rank: "highway", from: 8, colour: "highway", width: [[8, 0.6], [12, 2], [14, 4.4], [18, 26]] },
];

function layers(theme: Theme): LayerSpecification[] {
  const ink = INK[theme];
  // Coastlines are too coarse for a city, so land and water fade into one ground before they would show it.
  const ground: LayerSpecification = {
    id: "ground", type: "background", paint: { "background-color": ["interpolate", ["linear"], ["zoom"], 6.8, ink.water, 8.4, ink.land] },
  };
  const fade = (opacity: number): ["interpolate", ["linear"], ["zoom"], ...number[]] => ["interpolate", ["linear"], ["zoom"], 6.8, opacity, 8.4, 0];
  const casings = ROADS.filter((road) => road.rank !== "service").map((road): LayerSpecification => ({
    id: `${road.rank}-casing`, type: "line", source: "roads", minzoom: Math.max(12, road.from), filter: ["==", ["get", "rank"], road.rank],
    layout: { "line-cap": "butt", "line-join": "round" },
    paint: {
      "line-color": road.colour === "highway" ? ink.highwayCasing : ink.casing,
      "line-width": widths(road.width.map(([zoom, px]) => [zoom, px + (zoom < 13 ? 0.7 : 1.7)] as const)),
    },
  }));
  const fills = ROADS.map((road): LayerSpecification => ({
    id: road.rank, type: "line", source: "roads", minzoom: road.from, filter: ["==", ["get", "rank"], road.rank],
    layout: { "line-cap": "round", "line-join": "round" },
    paint: { "line-color": ink[road.colour], "line-width": widths(road.width) },
  }));
  return [
    ground,
    { id: "land", type: "fill", source: "land", maxzoom: 9, paint: { "fill-color": ink.land } },
    { id: "coast", type: "line", source: "land", maxzoom: 9, paint: { "line-color": ink.coast, "line-width": 0.7, "line-opacity": fade(1) } },
    { id: "borders", type: "line", source: "borders", maxzoom: 9, paint: { "line-color": ink.border, "line-width": 0.8, "line-opacity": fade(0.9) } },
    ...casings,
    ...fills,
  ];
}
