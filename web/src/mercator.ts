/** Web Mercator in units of the world's width, in doubles. Never draws. */

const E7_TO_TURN = 1 / 3_600_000_000;
const LIMIT_DEG = 85.051129;

export function mercatorX(lngE7: number): number {
  return 0.5 + lngE7 * E7_TO_TURN;
}

export function mercatorY(latE7: number): number {
  const lat = Math.max(-LIMIT_DEG, Math.min(LIMIT_DEG, latE7 / 1e7));
  const sin = Math.sin((lat * Math.PI) / 180);
  return 0.5 - Math.log((1 + sin) / (1 - sin)) / (4 * Math.PI);
}

/** A difference of x the short way round the world. */
export function wrapTurn(dx: number): number {
  return dx - Math.round(dx);
}

/** Metres in one unit of mercator at this y. */
export function metresPerUnit(y: number): number {
  return 40_030_228.9 / Math.cosh(Math.PI * (1 - 2 * y));
}
