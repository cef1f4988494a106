/** Draws the markers: an own WebGL2 layer of the map, one point each, moved by the vertex shader. Never decides what there is to draw. */

import type { CustomLayerInterface, CustomRenderMethodInput, Map as MapLibre } from "maplibre-gl";
import { mercatorX, mercatorY, wrapTurn } from "./mercator";
import { goTo, placeAt, standing, type Track } from "./motion";
import { compile, POINT_WORDS, type Programme } from "./shaders";
import { groupIndex, groupOf, SHAPES } from "./status";
import type { Marker } from "./store";

export interface Palette {
  /** One for each group of statuses, then the surface that outlines them and the rings of what is selected and of late risk; 0..1. */
  colours: readonly (readonly [number, number, number])[];
  surface: readonly [number, number, number];
  accent: readonly [number, number, number];
  late: readonly [number, number, number];
}

/** Single floats count from here and are exact enough only nearby: 200 km, a quarter of an hour. */
const REBASE_TURN = 0.005;
const REBASE_MS = 900_000;
const POINT_BYTES = POINT_WORDS * 4;

interface Slot {
  handle: number;
  track: Track;
  meta: number;
  driver: boolean;
}

export class MarkerLayer implements CustomLayerInterface {
  readonly id = "markers";
  readonly type = "custom";
  readonly renderingMode = "2d";
  glide = true;
  private map: MapLibre | null = null;
  private programme: Programme | null = null;
  private buffer: WebGLBuffer | null = null;
  private vao: WebGLVertexArrayObject | null = null;
  private readonly slots: Slot[] = [];
  private readonly slotOf = new Map<number, number>();
  private data = new ArrayBuffer(1024 * POINT_BYTES);
  private floats = new Float32Array(this.data);
  private words = new Uint32Array(this.data);
  private uploadedBytes = 0;
  private dirtyFrom = Infinity;
  private dirtyTo = -1;
  private origin: [number, number] = [0.5, 0.5];
  private baseMs = 0;
  private selected = -1;
  private drewBefore = false;
  private movingUntilMs = 0;
  private timer: number | undefined;

  constructor(private palette: Palette) {}

  get size(): number {
    return this.slots.length;
  }

  has(handle: number): boolean {
    return this.slotOf.has(handle);
  }

  put(marker: Marker, nowMs: number): void {
    const x = mercatorX(marker.lngE7);
    const y = mercatorY(marker.latE7);
    const known = this.slotOf.get(marker.handle);
    if (known === undefined) {
      const index = this.slots.length;
      this.slots.push({ handle: marker.handle, track: standing(x, y, (marker.meta >>> 8) & 255, nowMs), meta: marker.meta, driver: marker.driver });
      this.slotOf.set(marker.handle, index);
      this.reserve(index + 1);
      this.write(index);
      return;
    }
    const slot = this.slots[known];
    if (!slot) return;
    const { track } = slot;
    if (Math.abs(wrapTurn(track.toX - x)) > 1e-12 || Math.abs(track.toY - y) > 1e-12) {
      track.fromHeading = (slot.meta & 128) !== 0 ? (slot.meta >>> 8) & 255 : (marker.meta >>> 8) & 255;
      goTo(track, x, y, nowMs, this.glide);
      this.movingUntilMs = Math.max(this.movingUntilMs, track.endMs);
    }
    slot.meta = marker.meta;
    slot.driver = marker.driver;
    this.write(known);
  }

  remove(handle: number): void {
    const index = this.slotOf.get(handle);
    if (index === undefined) return;
    const last = this.slots.pop();
    if (!last) return;
    this.slotOf.delete(handle);
    if (last.handle === handle) return;
    this.slots[index] = last;
    this.slotOf.set(last.handle, index);
    this.write(index);
  }

  select(handle: number): void {
    const before = this.slotOf.get(this.selected);
    this.selected = handle;
    if (before !== undefined) this.write(before);
    const now = this.slotOf.get(handle);
    if (now !== undefined) this.write(now);
    this.redraw();
  }

  repaint(palette: Palette): void {
    this.palette = palette;
    this.redraw();
  }

  /** Where the marker is drawn now, in mercator. */
  place(handle: number, nowMs: number): [number, number] | null {
    const slot = this.slots[this.slotOf.get(handle) ?? -1];
    return slot ? placeAt(slot.track, nowMs) : null;
  }

  /** The marker drawn nearest to this place and no farther away than `reach`, all in mercator. */
  pick(x: number, y: number, reach: number, nowMs: number): number | null {
    let best: number | null = null;
    let nearest = reach * reach;
    for (const slot of this.slots) {
      const [atX, atY] = placeAt(slot.track, nowMs);
      const dx = wrapTurn(atX - x);
      const distance = dx * dx + (atY - y) * (atY - y);
      if (distance > nearest) continue;
      nearest = distance;
      best = slot.handle;
    }
    return best;
  }

  redraw(): void {
    this.map?.triggerRepaint();
  }

  onAdd(map: MapLibre, gl: WebGL2RenderingContext): void {
    this.map = map;
    this.programme = compile(gl);
    this.buffer = gl.createBuffer();
    this.vao = gl.createVertexArray();
    gl.bindVertexArray(this.vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    for (const location of [0, 1, 2]) gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(0, 4, gl.FLOAT, false, POINT_BYTES, 0);
    gl.vertexAttribPointer(1, 2, gl.FLOAT, false, POINT_BYTES, 16);
    gl.vertexAttribIPointer(2, 2, gl.UNSIGNED_INT, POINT_BYTES, 24);
    gl.bindVertexArray(null);
    this.uploadedBytes = 0;
  }

  onRemove(_map: MapLibre, gl: WebGL2RenderingContext): void {
    clearTimeout(this.timer);
    gl.deleteBuffer(this.buffer);
    gl.deleteVertexArray(this.vao);
    gl.deleteProgram(this.programme?.program ?? null);
    this.programme = null;
    this.map = null;
  }

  render(gl: WebGL2RenderingContext | WebGLRenderingContext, input: CustomRenderMethodInput): void {
    const { map, programme } = this;
    if (!map || !programme || !(gl instanceof WebGL2RenderingContext) || this.slots.length === 0) return;
    const now = performance.now();
    this.rebase(map, now);
    gl.bindVertexArray(this.vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    this.upload(gl);
    gl.useProgram(programme.program);
    this.uniforms(gl, programme, map, input, now);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.STENCIL_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.POINTS, 0, this.slots.length);
    gl.bindVertexArray(null);
    if (!this.drewBefore) performance.mark("waypost: first markers");
    this.drewBefore = true;
    this.schedule(map.getZoom(), now);
  }

  private uniforms(gl: WebGL2RenderingContext, { uniforms }: Programme, map: MapLibre, input: CustomRenderMethodInput, now: number): void {
    gl.uniformMatrix4fv(uniforms.u_matrix, false, translated(input.defaultProjectionData.mainMatrix, this.origin[0], this.origin[1]));
    gl.uniform1f(uniforms.u_now, now - this.baseMs);
    gl.uniform1f(uniforms.u_radius, radiusPx(map.getZoom()));
    gl.uniform1f(uniforms.u_pixels, map.getPixelRatio());
    gl.uniform3fv(uniforms.u_colours, this.palette.colours.flat());
    gl.uniform3fv(uniforms.u_surface, this.palette.surface.slice());
    gl.uniform3fv(uniforms.u_accent, this.palette.accent.slice());
    gl.uniform3fv(uniforms.u_late, this.palette.late.slice());
  }

  /** Draws again while something moves; where motion is smaller than a pixel, less often. */
  private schedule(zoom: number, now: number): void {
    if (now >= this.movingUntilMs || this.timer !== undefined) return;
    const wait = zoom >= 14 ? 0 : zoom >= 12 ? 33 : 100;
    if (wait === 0) return this.redraw();
    this.timer = window.setTimeout(() => {
      this.timer = undefined;
      this.redraw();
    }, wait);
  }

  /** Moves the origin of space and time near to what is looked at, and writes all points anew against it. */
  private rebase(map: MapLibre, now: number): void {
    const { lng, lat } = map.getCenter();
    const x = mercatorX(lng * 1e7);
    const y = mercatorY(lat * 1e7);
    const near = Math.abs(x - this.origin[0]) < REBASE_TURN && Math.abs(y - this.origin[1]) < REBASE_TURN;
    if (near && now - this.baseMs < REBASE_MS && this.baseMs !== 0) return;
    this.origin = [x, y];
    this.baseMs = now;
    for (let index = 0; index < this.slots.length; index += 1) this.write(index);
  }

  private write(index: number): void {
    const slot = this.slots[index];
    if (!slot) return;
    const { track, meta } = slot;
    const group = groupOf(meta & 15);
    const at = index * POINT_WORDS;
    const dx = wrapTurn(track.toX - this.origin[0]);
    this.floats[at] = dx + (track.fromX - track.toX);
    this.floats[at + 1] = track.fromY - this.origin[1];
    this.floats[at + 2] = dx;
    this.floats[at + 3] = track.toY - this.origin[1];
    this.floats[at + 4] = track.startMs - this.baseMs;
    this.floats[at + 5] = track.endMs - this.baseMs;
    this.words[at + 6] = meta;
    const look = track.fromHeading | (slot.handle === this.selected ? 256 : 0) | (slot.driver ? 0 : 512);
    this.words[at + 7] = look | (groupIndex(meta & 15) << 10) | (SHAPES[group.shape] << 13);
    this.dirtyFrom = Math.min(this.dirtyFrom, at * 4);
    this.dirtyTo = Math.max(this.dirtyTo, at * 4 + POINT_BYTES);
  }

  private reserve(points: number): void {
    if (points * POINT_BYTES <= this.data.byteLength) return;
    const data = new ArrayBuffer(this.data.byteLength * 2);
    new Uint8Array(data).set(new Uint8Array(this.data));
    this.data = data;
    this.floats = new Float32Array(data);
    this.words = new Uint32Array(data);
  }

  private upload(gl: WebGL2RenderingContext): void {
    if (this.uploadedBytes !== this.data.byteLength) {
      gl.bufferData(gl.ARRAY_BUFFER, this.data, gl.DYNAMIC_DRAW);
      this.uploadedBytes = this.data.byteLength;
    } else if (this.dirtyTo > this.dirtyFrom) {
      gl.bufferSubData(gl.ARRAY_BUFFER, this.dirtyFrom, new Uint8Array(this.data, this.dirtyFrom, this.dirtyTo - this.dirtyFrom));
    }
    this.dirtyFrom = Infinity;
    this.dirtyTo = -1;
  }
}

export function radiusPx(zoom: number): number {
  const t = Math.max(0, Math.min(1, (zoom - 10) / 6));
  return 2.9 + 4.6 * t;
}

/** The matrix times a translation, in doubles until the last step: single floats are off by two pixels at zoom 16. */
function translated(m: ArrayLike<number>, x: number, y: number): Float32Array {
  const out = new Float32Array(16);
  for (let row = 0; row < 4; row += 1) {
    const at = (column: number): number => m[column * 4 + row] ?? 0;
    out[row] = at(0);
    out[4 + row] = at(1);
    out[8 + row] = at(2);
    out[12 + row] = at(0) * x + at(1) * y + at(3);
  }
  return out;
}
