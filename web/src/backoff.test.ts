/** When the page comes back. */
import { expect, test } from "vitest";
import { afterBye, backoffMs } from "./backoff";
import { shownState } from "./connection";

test("waits grow, stay within their step and end at twenty seconds", () => {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const step = Math.min(20_000, 500 * 2 ** attempt);
    expect(backoffMs(attempt, 0)).toBe(step / 2);
    expect(backoffMs(attempt, 1)).toBe(step);
    expect(backoffMs(attempt, 0.5)).toBeLessThanOrEqual(step);
  }
});

test("a bye is obeyed", () => {
  expect(afterBye(1, "restart", 1500)).toEqual({ kind: "retry", inMs: 1500 });
  expect(afterBye(2, "bad key", 0)).toEqual({ kind: "sign-in", reason: "bad key" });
  expect(afterBye(8, "revoked", 0).kind).toBe("sign-in");
  expect(afterBye(4, "bad message", 0)).toEqual({ kind: "stop", reason: "bad message" });
});

test("old data is never shown as live", () => {
  const base = { state: { kind: "live" }, receivedMs: 0, ageMs: 0, behindSinceMs: null, coarsened: false, slowLink: false } as const;
  expect(shownState(base, 1_000)).toBe("live");
  expect(shownState(base, 31_000)).toBe("stale");
  expect(shownState({ ...base, receivedMs: null }, 1_000)).toBe("connecting");
  expect(shownState({ ...base, state: { kind: "reconnecting", attempt: 1, retryAtMs: 0, reason: "" } }, 1)).toBe("reconnecting");
});
