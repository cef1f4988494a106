/** How long to wait before the next try. Pure; never waits itself. */

const FIRST_MS = 500;
const LONGEST_MS = 20_000;

/** Doubles from half a second to twenty, spread over the upper half of each step so that a thousand pages do not come back at once. */
export function backoffMs(attempt: number, random: number): number {
  const step = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.max(0, Math.min(attempt, 16)));
  return Math.round(step / 2 + (step / 2) * random);
}

export type AfterBye = { kind: "retry"; inMs: number } | { kind: "sign-in"; reason: string } | { kind: "stop"; reason: string };

/** What a `bye` asks for. Codes as in the schema: 2 auth failed, 3 auth timeout, 8 key revoked want another credential; 0 ms means do not come back. */
export function afterBye(code: number, reason: string, reconnectInMs: number): AfterBye {
  if (code === 2 || code === 8) return { kind: "sign-in", reason: reason || "The key is not valid." };
  if (reconnectInMs > 0) return { kind: "retry", inMs: reconnectInMs };
  return { kind: "stop", reason: reason || "The server ended the session." };
}
