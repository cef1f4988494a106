/** Builds the dashboard into `dist/`, which the server embeds. Never fetches anything: roads and coastlines come from the tree. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const ROADS = here("../simulator/roads/gothenburg.json.gz");
const WORLD = here("./node_modules/world-atlas/countries-50m.json");

/** `virtual:basemap` exports the addresses of the two gzipped map files, emitted as assets with a hash in their names. */
function basemapFiles(): Plugin {
  let serving = false;
  const files = { roads: (): Uint8Array => readFileSync(ROADS), world: (): Uint8Array => gzipSync(readFileSync(WORLD), { level: 9 }) };
  return {
    name: "waypost-basemap",
    configResolved: (config) => {
      serving = config.command === "serve";
    },
    resolveId: (id) => (id === "virtual:basemap" ? "\0virtual:basemap" : null),
    load(id) {
      if (id !== "\0virtual:basemap") return null;
      const lines = Object.entries(files).map(([name, read]) => {
        if (serving) return `export const ${name}Url = "/basemap/${name}.gz";`;
        const reference = this.emitFile({ type: "asset", name: `${name}.json.gz`, source: read() });
        return `export const ${name}Url = import.meta.ROLLUP_FILE_URL_${reference};`;
      });
      return lines.join("\n");
    },
    configureServer(server) {
      for (const [name, read] of Object.entries(files)) {
        server.middlewares.use(`/basemap/${name}.gz`, (_request, response) => {
          response.setHeader("content-type", "application/octet-stream");
          response.end(read());
        });
      }
    },
  };
}

/** The server's build watches `dist/`, so the folder must exist in a fresh clone: git keeps it by this file. */
function keepFolder(): Plugin {
  return {
    name: "waypost-keep-folder",
    closeBundle: () => {
      const keep = here("./dist/.gitkeep");
      if (!existsSync(keep)) writeFileSync(keep, "");
    },
  };
}

const backend = process.env["WAYPOST_URL"] ?? "http://127.0.0.1:7070";

export default defineConfig({
  base: "./",
  plugins: [basemapFiles(), keepFolder()],
  build: { outDir: "dist", emptyOutDir: true, target: "es2022", chunkSizeWarningLimit: 1500, assetsInlineLimit: 0 },
  worker: { format: "es" },
  server: { proxy: { "/v1": { target: backend, ws: true } } },
  preview: { proxy: { "/v1": { target: backend, ws: true } } },
});
