/** The two reads that the detail panel needs, checked on arrival. Never shows anything. */

export interface Aboard {
  id: string;
  status: string | null;
  eta: string | null;
  promisedBy: string | null;
}

export interface Place {
  lat: number;
  lng: number;
  accuracyM: number | null;
}

interface Common {
  id: string;
  status: string | null;
  link: string | null;
  motion: string | null;
  duty: string | null;
  heard: string | null;
  speedMps: number | null;
  position: Place | null;
}

export interface DriverDetail extends Common {
  kind: "driver";
  deliveries: Aboard[];
  deliveriesCount: number;
}

export interface DeliveryDetail extends Common {
  kind: "delivery";
  driver: string | null;
  assignment: string | null;
  eta: string | null;
  promisedBy: string | null;
  recipientRef: string | null;
  pickup: Place | null;
  destination: Place | null;
  attributes: readonly (readonly [string, string])[];
  history: readonly { status: string; time: string; legal: boolean; reason: string | null }[];
}

export type Detail = DriverDetail | DeliveryDetail;

export type Answer<T> = { kind: "ok"; value: T } | { kind: "missing" } | { kind: "forbidden" } | { kind: "failed"; problem: string };

export async function getDetail(kind: "driver" | "delivery", id: string, token: string): Promise<Answer<Detail>> {
  const answer = await get(`/v1/${kind === "driver" ? "drivers" : "deliveries"}/${encodeURIComponent(id)}`, token);
  if (answer.kind !== "ok") return answer;
  const body = answer.value;
  return { kind: "ok", value: kind === "driver" ? driver(id, body) : delivery(id, body) };
}

/** Where deliveries are, to look there when nothing is in view. */
export async function somewhere(token: string): Promise<[number, number][]> {
  const answer = await get("/v1/deliveries?fields=id&limit=500", token);
  if (answer.kind !== "ok") return [];
  return list(answer.value["features"]).flatMap((entry): [number, number][] => {
    const [lng, lat] = list(record(record(entry)["geometry"])["coordinates"]);
    return typeof lng === "number" && typeof lat === "number" ? [[lng, lat]] : [];
  });
}

type Json = Readonly<Record<string, unknown>>;

async function get(path: string, token: string): Promise<Answer<Json>> {
  try {
    const response = await fetch(path, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(8_000) });
    if (response.status === 404) return { kind: "missing" };
    if (response.status === 401 || response.status === 403) return { kind: "forbidden" };
    if (!response.ok) return { kind: "failed", problem: response.status === 503 ? "The server is catching up. Trying again." : `The server answered ${response.status}.` };
    return { kind: "ok", value: record(await response.json()) };
  } catch {
    return { kind: "failed", problem: "The server did not answer. Trying again." };
  }
}

function common(id: string, body: Json): Common {
  return {
    id,
    status: text(body["status"]), link: text(body["link"]), motion: text(body["motion"]), heard: text(body["heard"]),
    duty: typeof body["duty"] === "boolean" ? (body["duty"] ? "on" : "off") : text(body["duty"]),
    speedMps: number(body["speed_mps"]),
    position: place(body["position"]),
  };
}

function driver(id: string, body: Json): DriverDetail {
  const deliveries = list(body["deliveries"]).map(record).map((entry): Aboard => ({
    id: text(entry["id"]) ?? "", status: text(entry["status"]), eta: text(entry["eta"]), promisedBy: text(entry["promised_by"]),
  }));
  return { kind: "driver", ...common(id, body), deliveries, deliveriesCount: number(body["deliveries_count"]) ?? deliveries.length };
}

function delivery(id: string, body: Json): DeliveryDetail {
  const history = list(body["history"]).map(record).map((entry) => ({
    status: text(entry["status"]) ?? "", time: text(entry["time"]) ?? "", legal: entry["legal"] !== false, reason: text(entry["reason"]),
  }));
  const attributes = Object.entries(record(body["attributes"])).map(([name, value]) => [name, String(value)] as const);
  return {
    kind: "delivery", ...common(id, body), driver: text(body["driver"]), assignment: text(body["assignment"]), eta: text(body["eta"]),
    promisedBy: text(body["promised_by"]), recipientRef: text(body["recipient_ref"]), pickup: place(body["pickup"]),
    destination: place(body["destination"]), attributes, history,
  };
}

function place(value: unknown): Place | null {
  const { lat, lng, accuracy_m } = record(value);
  return typeof lat === "number" && typeof lng === "number" ? { lat, lng, accuracyM: number(accuracy_m) } : null;
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function number(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}
