/**
 * Derives `gothenburg.json.gz` from the OpenStreetMap extract in the npm package geojson-path-finder 2.1.0. Never fetches anything itself.
 *
 *     npm pack geojson-path-finder@2.1.0 && tar xzf geojson-path-finder-2.1.0.tgz
 *     node derive.mjs package/test/large-network.json gothenburg.json.gz
 */
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const [source, target] = process.argv.slice(2);
if (!source || !target) throw new Error("usage: node derive.mjs large-network.json OUT.json.gz");

const DRIVABLE = new Set([
  "motorway", "motorway_link", "trunk", "trunk_link", "primary", "primary_link", "secondary", "secondary_link",
  "tertiary", "tertiary_link", "unclassified", "residential", "living_street", "service",
]);
const CLOSED = new Set(["no", "private"]);

/** 1: only along the line, -1: only against it, 0: both. Roundabouts and motorways are one-way unless they say otherwise. */
function oneway(tags) {
  const value = tags.oneway;
  if (value === "-1" || value === "reverse") return -1;
  if (value === "yes" || value === "1" || value === "true") return 1;
  if (value === "no" || value === "0" || value === "false") return 0;
  return tags.junction === "roundabout" || tags.highway === "motorway" || tags.highway === "motorway_link" ? 1 : 0;
}

function deltas(line) {
  const out = [];
  let lat = 0;
  let lng = 0;
  for (const [x, y] of line) {
    const nextLat = Math.round(y * 1e5);
    const nextLng = Math.round(x * 1e5);
    if (out.length > 0 && nextLat === lat && nextLng === lng) continue;
    out.push(nextLat - lat, nextLng - lng);
    lat = nextLat;
    lng = nextLng;
  }
  return out;
}

const ways = [];
for (const { geometry, properties } of JSON.parse(readFileSync(source, "utf8")).features) {
  const tags = properties.tags ?? properties;
  if (geometry.type !== "LineString" || !DRIVABLE.has(tags.highway)) continue;
  if (CLOSED.has(tags.access) || CLOSED.has(tags.motor_vehicle) || tags.area === "yes") continue;
  const p = deltas(geometry.coordinates);
  if (p.length < 4) continue;
  const speed = Number.parseInt(tags.maxspeed ?? "", 10);
  ways.push({ c: tags.highway, o: oneway(tags), s: Number.isFinite(speed) ? speed : null, n: tags.name ?? null, p });
}
const attribution = "© OpenStreetMap contributors, ODbL 1.0, 2016-12-27";
writeFileSync(target, gzipSync(JSON.stringify({ attribution, ways }), { level: 9 }));
console.log(`${ways.length} ways, ${ways.reduce((n, w) => n + w.p.length / 2, 0)} points`);
