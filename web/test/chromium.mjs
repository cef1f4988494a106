/** The browser that the tests drive, and how they say what they found. Never downloads one. */
import { existsSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { chromium } from "playwright-core";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
];
const BROWSERS = [process.env.WAYPOST_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".gz": "application/gzip" };

export const DEADLINE_MS = Number(process.env.WAYPOST_DEADLINE_MS ?? 30_000);

/** Null where there is none. */
export async function launch() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  // A page that was not fetched from the network may not talk to this machine otherwise.
  const dist = process.env.WAYPOST_DIST ? ["--disable-features=LocalNetworkAccessChecks"] : [];
  return executablePath ? chromium.launch({ executablePath, args: [...FLAGS, ...dist] }) : null;
}

/** With `WAYPOST_DIST` the page's files come from that folder, under the server's own headers: to try a build without building the server. */
export async function servesDist(context) {
  const folder = process.env.WAYPOST_DIST;
  if (!folder) return;
  await context.route((url) => !url.pathname.startsWith("/v1/"), async (route) => {
    const { pathname, origin } = new URL(route.request().url());
    const path = join(folder, pathname === "/" ? "index.html" : pathname);
    if (!existsSync(path)) return route.fulfill({ status: 404 });
    const { headers } = await fetch(`${origin}/`);
    const kept = ["content-security-policy", "referrer-policy", "permissions-policy", "x-content-type-options"].flatMap((name) => (headers.has(name) ? [[name, headers.get(name)]] : []));
    return route.fulfill({ body: readFileSync(path), headers: { ...Object.fromEntries(kept), "content-type": TYPES[extname(path)] ?? "application/octet-stream" } });
  });
}

/** Claims that are proven one after the other; `failed` are those that do not hold. */
export function claims() {
  const failed = [];
  const claim = async (words, proof) => {
    try {
      await proof();
      console.log(`ok   ${words}`);
    } catch (error) {
      failed.push(words);
      console.log(`FAIL ${words}: ${error.message}`);
    }
  };
  return { claim, failed };
}

export function check(holds, words) {
  if (!holds) throw new Error(words);
}

export function look(page) {
  return page.evaluate(() => window.__waypost?.inspect() ?? {});
}

export async function eventually(page, holds, words) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const seen = await look(page);
    if (holds(seen)) return seen;
    if (Date.now() > deadline) throw new Error(`${words} did not come: ${JSON.stringify(seen)}`);
    await page.waitForTimeout(100);
  }
}
