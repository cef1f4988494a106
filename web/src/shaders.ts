/** The two shaders of the marker layer and their programme. Knows no marker. */

/** Words of a point in the buffer: from.xy, to.xy, start, end, meta, look. */
export const POINT_WORDS = 8;

/** `look`: bits 0-7 heading it turns from, 8 selected, 9 no arrow, 10-12 colour, 13-15 shape. */
const VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec4 a_path;
layout(location = 1) in vec2 a_time;
layout(location = 2) in uvec2 a_look;
uniform mat4 u_matrix;
uniform float u_now;
uniform float u_radius;
uniform float u_pixels;
uniform vec3 u_colours[8];
out vec4 v_colour;
out vec2 v_heading;
flat out int v_shape;
flat out float v_arrow;
flat out float v_selected;
flat out float v_late;
flat out float v_extent;

const float TURN = 6.28318530718;

void main() {
  float span = a_time.y - a_time.x;
  float t = span > 0.0 ? clamp((u_now - a_time.x) / span, 0.0, 1.0) : 1.0;
  gl_Position = u_matrix * vec4(mix(a_path.xy, a_path.zw, t), 0.0, 1.0);

  uint meta = a_look.x;
  uint look = a_look.y;
  float to = float((meta >> 8u) & 255u) / 256.0;
  float from = float(look & 255u) / 256.0;
  float turn = to - from;
  turn -= floor(turn + 0.5);
  float heading = (from + turn * smoothstep(0.0, 0.35, t)) * TURN;
  v_heading = vec2(sin(heading), cos(heading));

  uint link = (meta >> 4u) & 3u;
  float alpha = link == 0u ? 1.0 : link == 1u ? 0.85 : link == 2u ? 0.5 : 0.32;
  v_colour = vec4(u_colours[(look >> 10u) & 7u], alpha);
  v_shape = int((look >> 13u) & 7u);
  v_selected = float((look >> 8u) & 1u);
  v_late = float(meta >> 31u);
  bool moving = (meta & 192u) == 192u;
  v_arrow = moving && (look & 512u) == 0u ? 1.0 : 0.0;
  // In units of the radius, with room for the arrow or the ring, and for a pixel of smoothing.
  v_extent = (v_selected > 0.0 ? 2.7 : 2.0) + (v_late > 0.0 ? 3.0 : 2.0) / u_radius;
  gl_PointSize = 2.0 * v_extent * u_radius * u_pixels;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec4 v_colour;
in vec2 v_heading;
flat in int v_shape;
flat in float v_arrow;
flat in float v_selected;
flat in float v_late;
flat in float v_extent;
uniform float u_radius;
uniform float u_pixels;
uniform vec3 u_surface;
uniform vec3 u_accent;
uniform vec3 u_late;
out vec4 colour;

float box(vec2 p, vec2 half_size, float round_by) {
  vec2 d = abs(p) - half_size + round_by;
  return length(max(d, 0.0)) + min(max(d.x, d.y), 0.0) - round_by;
}

// q has the heading as its y. A tip that leaves the unit disc along its tangents, or the square at its shoulders.
float tip(vec2 q, vec2 normal, float reach, float from) {
  return max(dot(vec2(abs(q.x), q.y), normal) - reach, from - q.y);
}

float shape(vec2 p) {
  vec2 q = v_arrow > 0.0 ? vec2(p.x * v_heading.y - p.y * v_heading.x, p.x * v_heading.x + p.y * v_heading.y) : p;
  if (v_shape == 1) {
    float square = box(q, vec2(0.86), 0.24);
    return v_arrow > 0.0 ? min(square, tip(q, vec2(0.7880, 0.6157), 1.0775, 0.62)) : square;
  }
  if (v_shape == 2) return (abs(p.x) + abs(p.y) - 1.24) * 0.70710678;
  if (v_shape == 4) {
    vec2 r = vec2(p.x + p.y, p.y - p.x) * 0.70710678;
    return min(box(r, vec2(1.05, 0.32), 0.12), box(r, vec2(0.32, 1.05), 0.12));
  }
  float disc = length(p) - 1.0;
  if (v_arrow > 0.0) disc = min(disc, tip(q, vec2(0.8207, 0.5714), 1.0, 0.5714));
  return v_shape == 3 ? max(disc, 0.48 - length(p)) : disc;
}

void main() {
  vec2 p = (gl_PointCoord * 2.0 - 1.0) * vec2(v_extent, -v_extent);
  float pixel = 1.0 / (u_radius * u_pixels);
  float d = shape(p);
  float edge = 1.5 / u_radius;
  float fill = 1.0 - smoothstep(-pixel, pixel, d);
  float halo = 1.0 - smoothstep(-pixel, pixel, d - edge);
  vec3 rgb = mix(u_surface, v_colour.rgb, fill);
  float alpha = halo * v_colour.a;
  colour = vec4(rgb * alpha, alpha);
  if (v_late > 0.0) {
    // A ring with a gap at the top right, on a rim of the surface's colour: told from a selection, which is closed and farther out, by shape alone.
    float width = max(1.0, 0.16 * u_radius) / u_radius;
    float away = abs(length(p) - (1.62 + 1.0 / u_radius));
    float gap = smoothstep(0.30, 0.42, distance(normalize(p + 0.0001), vec2(0.70710678)));
    float rim = (1.0 - smoothstep(-pixel, pixel, away - width - 1.0 / u_radius)) * gap;
    float line = (1.0 - smoothstep(-pixel, pixel, away - width)) * gap;
    colour = colour + vec4(u_surface, 1.0) * rim * (1.0 - colour.a);
    colour = mix(colour, vec4(u_late, 1.0), line);
  }
  if (v_selected > 0.0) {
    float ring = abs(length(p) - 2.25) - 1.1 / u_radius;
    float on = 1.0 - smoothstep(-pixel, pixel, ring);
    float glow = (1.0 - smoothstep(2.2, 2.3, length(p))) * 0.14;
    vec4 over = vec4(u_accent * glow, glow);
    colour = over * (1.0 - colour.a) + colour;
    colour = mix(colour, vec4(u_accent, 1.0), on);
  }
  if (colour.a < 0.004) discard;
}`;

const UNIFORMS = ["u_matrix", "u_now", "u_radius", "u_pixels", "u_colours", "u_surface", "u_accent", "u_late"] as const;

export interface Programme {
  readonly program: WebGLProgram;
  readonly uniforms: Readonly<Record<(typeof UNIFORMS)[number], WebGLUniformLocation | null>>;
}

export function compile(gl: WebGL2RenderingContext): Programme {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind);
    if (!shader) throw new Error("WebGL gave no shader");
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) throw new Error(gl.getShaderInfoLog(shader) ?? "shader");
    gl.attachShader(program, shader);
    gl.deleteShader(shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program) ?? "link");
  const uniforms = Object.fromEntries(UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)])) as Programme["uniforms"];
  return { program, uniforms };
}
