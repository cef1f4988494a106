/**
 * The page in a real browser, against a server in motion: `WAYPOST_TICKET_URL` (or `WAYPOST_URL` with `WAYPOST_KEY`), else the mock.
 * With `WAYPOST_CTL` = an executable that takes `kill` and `start`, or against the mock, the server is also killed and brought back.
 * Prints one line a claim and ends with 1 when one does not hold. Never downloads a browser.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { check, claims, DEADLINE_MS, eventually, launch, look, servesDist } from "./chromium.mjs";

const browser = await launch();
if (!browser) {
  console.log("SKIPPED the browser test: no Chromium here");
  process.exit(0);
}

const server = await theServer();
const { claim, failed: failures } = claims();
const complaints = [];
const violations = [];
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce" });
  await servesDist(page.context());
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.text().includes("Content Security Policy") && violations.push(message.text()));
  await page.exposeFunction("__violated", (words) => violations.push(words));
  await page.addInitScript(() =>
    addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI, sourceFile, lineNumber }) =>
      window.__violated(`${effectiveDirective} ${blockedURI} at ${sourceFile}:${lineNumber}`)));
  const opened = Date.now();
  await open(page);
  await claim("markers appear", () => eventually(page, (w) => w.connection === "live" && w.markers > 0 && w.drawn === w.markers, "a marker"));
  console.log(`     first data ${Date.now() - opened} ms after the page was asked for`);
  await claim("the credential is not in the address", async () => check(!(await page.evaluate(() => location.href)).includes("ticket"), page.url()));
  await claim("the map shows pixels of them", () => painted(page));
  await claim("markers move", () => moves(page));
  await claim("a pan changes the set, and back brings it back", () => pans(page));
  await claim("far away they leave, and zoomed out they are counted", () => leaves(page));
  await claim("the keyboard finds and opens one", () => opensOne(page));
  await claim("a filter narrows what is held, stays in the address, says when nothing matches, and is cleared by the keyboard", () => filters(page));
  await claim("what is followed stays in the middle until a hand moves the map", () => follows(page));
  if (server.kill) await claim("the server is killed and comes back, and the page recovers by itself", () => recovers(page));
  else console.log("SKIP the server is killed and comes back: no WAYPOST_CTL");
  await claim("what is held agrees with every checksum", async () => check((await look(page)).mismatches === 0, "a checksum differs"));
  if (!server.isMock) await claim("the page has a strict content policy", () => hasPolicy(page));
  await claim("nothing broke the content policy", async () => check(violations.length === 0, violations.join("; ")));
  await claim("nothing was thrown in the page", async () => check(complaints.length === 0, complaints.join("; ")));
} finally {
  await browser.close();
  await server.end?.();
}
console.log(failures.length === 0 ? "PASS browser" : `FAIL browser: ${failures.join(", ")}`);
process.exit(failures.length === 0 ? 0 : 1);

async function theServer() {
  const { WAYPOST_TICKET_URL: ticketUrl, WAYPOST_URL: url, WAYPOST_KEY: key, WAYPOST_CTL: control } = process.env;
  if (!ticketUrl && !url) {
    const { startMock, KEY } = await import("./mock-server.mjs");
    let mock = await startMock();
    const { url: at } = mock;
    return { isMock: true, url: at, key: KEY, kill: () => mock.close(), start: async () => (mock = await startMock({ port: Number(new URL(at).port), seed: 8 })), end: () => mock.close() };
  }
  // The server reads WAYPOST_* as its settings and refuses those it does not know: ours are not for it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("WAYPOST_")));
  const run = (word) => promisify(execFile)(control, [word], { timeout: 120_000, env });
  return { ticketUrl, url: url ?? new URL(ticketUrl).origin, key, ...(control ? { kill: () => run("kill"), start: () => run("start") } : {}) };
}

async function open(page) {
  if (server.ticketUrl) return page.goto(server.ticketUrl);
  await page.goto(`${server.url}/`);
  await page.fill("#key", server.key ?? "");
  return page.press("#key", "Enter");
}

function positions(page) {
  return page.evaluate(() => window.__waypost.positions());
}

/** Counts saturated pixels: the base map is grey and pale, markers are not. */
async function painted(page) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const shot = (await page.locator(".maplibregl-canvas").screenshot()).toString("base64");
    const vivid = await page.evaluate(async (png) => {
      // Not by fetch: the page's content policy lets nothing in that is not the server's.
      const image = await createImageBitmap(new Blob([Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0))], { type: "image/png" }));
      const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
      context.drawImage(image, 0, 0);
      // Clear of the panel on the left.
      const { data } = context.getImageData(340, 0, image.width - 340, image.height);
      let count = 0;
      for (let i = 0; i < data.length; i += 4) if (Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 100) count += 1;
      return count;
    }, shot);
    if (vivid > 200) return;
    check(Date.now() < deadline, `only ${vivid} vivid pixels`);
    await page.waitForTimeout(250);
  }
}

/** Nothing from elsewhere, no inline script or style; and it is kept: what is tried against it does not happen. */
async function hasPolicy(page) {
  const headers = (await page.request.get(server.url)).headers();
  const policy = headers["content-security-policy"] ?? "";
  check(policy.startsWith("default-src 'none'") && !policy.includes("unsafe"), policy || "no policy");
  check(headers["x-content-type-options"] === "nosniff" && headers["referrer-policy"] === "no-referrer" && headers["permissions-policy"], JSON.stringify(headers));
  const before = violations.length;
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.__smuggled = true";
    document.body.append(script);
  });
  check(!(await page.evaluate(() => window.__smuggled)), "an inline script ran");
  check(await waitFor(page, async () => violations.length > before), "the violation was not told");
  violations.length = before;
}

async function moves(page) {
  const seen = await look(page);
  const before = await positions(page);
  check(Object.keys(before).length > 0, `nothing is held that could move: ${JSON.stringify(seen)}`);
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const after = await positions(page);
    const moved = Object.keys(after).filter((id) => before[id] && String(before[id]) !== String(after[id]));
    if (moved.length >= 3) return;
    check(Date.now() < deadline, `${moved.length} of ${Object.keys(after).length} moved since ${JSON.stringify(seen)}, now ${JSON.stringify(await look(page))}`);
    await page.waitForTimeout(200);
  }
}

async function pans(page) {
  for (let i = 0; i < 2; i += 1) await page.keyboard.press("Escape");
  await zoomTo(page, 13.6);
  const first = await eventually(page, (w) => w.level === 8 && w.inView > 0, "a close view");
  const before = new Set(Object.keys(await positions(page)));
  const canvas = page.locator(".maplibregl-canvas");
  await drag(page, canvas, -560, 0);
  await eventually(page, (w) => w.viewId > first.viewId && w.tick > first.tick, "the answer to the pan");
  const changed = await waitFor(page, async () => Object.keys(await positions(page)).some((id) => !before.has(id)));
  check(changed, `the pan brought nothing new: ${page.url()} ${JSON.stringify(await look(page))}, ${before.size} before`);
  await drag(page, canvas, 560, 0);
  const back = await waitFor(page, async () => Object.keys(await positions(page)).filter((id) => before.has(id)).length > before.size / 2);
  check(back, "what was there did not come back");
}

async function drag(page, canvas, dx, dy) {
  const box = await canvas.boundingBox();
  const [x, y] = [box.x + box.width * 0.62 - dx / 2, box.y + box.height / 2 - dy / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  for (let step = 1; step <= 8; step += 1) await page.mouse.move(x + (dx * step) / 8, y + (dy * step) / 8);
  await page.waitForTimeout(250);
  await page.mouse.up();
  await page.waitForTimeout(300);
}

async function waitFor(page, holds) {
  const deadline = Date.now() + DEADLINE_MS;
  while (Date.now() < deadline) {
    if (await holds()) return true;
    await page.waitForTimeout(150);
  }
  return false;
}

async function leaves(page) {
  const before = await look(page);
  await zoomTo(page, 8.2);
  const counted = await eventually(page, (w) => w.level === 4 && w.markers === 0 && w.drawn === 0 && w.counted > 0, "the counts");
  check(counted.counted >= before.inView, `${counted.counted} counted, ${before.inView} were in view`);
  await page.locator(".cluster").first().waitFor({ timeout: DEADLINE_MS });
  await zoomTo(page, 13);
  await eventually(page, (w) => w.level === 8 && w.counted === 0, "the markers again");
}

/** By the address, as a colleague's link would; the credential is in session storage and stays. */
async function zoomTo(page, zoom) {
  const [, lat, lng] = (new URL(page.url()).searchParams.get("at") ?? `0/${(await centre(page)).join("/")}`).split("/");
  await page.goto(`${server.url}/?at=${zoom}/${lat}/${lng}`);
  await eventually(page, (w) => w.connection === "live" && w.tick > 0, "the page again");
}

/** In the middle of the markers, so that there is something to see in every direction. */
async function centre(page) {
  const all = Object.values(await positions(page));
  const middle = (index) => all.map((place) => place[index]).sort((a, b) => a - b)[Math.floor(all.length / 2)];
  return [middle(1), middle(0)];
}

async function opensOne(page) {
  await eventually(page, (w) => w.inView > 0, "something in view");
  await page.waitForTimeout(700);
  await page.locator("#map").press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.locator("#panel h2").waitFor({ timeout: DEADLINE_MS });
  await page.locator("#panel .facts").waitFor({ timeout: DEADLINE_MS });
  await page.waitForFunction(() => !document.querySelector("#panel .skeleton-block"), null, { timeout: DEADLINE_MS });
  await page.keyboard.press("Escape");
  await page.locator("#panel").waitFor({ state: "hidden", timeout: DEADLINE_MS });
}

async function filters(page) {
  const wide = await eventually(page, (w) => w.inView > 3, "markers");
  const [id] = Object.keys(await positions(page));
  await page.locator("#more-open").press("Enter");
  await page.locator("#filter-driver").fill(id);
  await page.keyboard.press("Enter");
  const one = await eventually(page, (w) => w.viewId > wide.viewId && w.markers === 1 && w.drawn === 1, "the one driver");
  check(page.url().includes(`driver=${encodeURIComponent(id)}`), page.url());
  await page.reload();
  await eventually(page, (w) => w.connection === "live" && w.markers === 1 && w.tick >= one.tick, "the same after a reload");
  await page.locator(`#tokens button`).press("Enter");
  await eventually(page, (w) => w.markers > 1, "all without the driver");
  await page.locator("#filter-tag").fill("=nameless");
  await page.keyboard.press("Enter");
  check((await page.locator("#filter-problem").textContent()) !== "", "a tag without a name is taken");
  await page.locator("#filter-tag").fill("");
  await page.locator("#filter-driver").fill("nobody at all");
  await page.keyboard.press("Enter");
  await eventually(page, (w) => w.markers === 0 && w.drawn === 0, "nobody");
  await page.locator("#list [data-clear]").press("Enter");
  await eventually(page, (w) => w.markers > 1, "all again");
  check(!page.url().includes("driver="), page.url());
  const chip = page.locator('#filters [data-chip="0"]');
  await chip.press("Space");
  check((await chip.getAttribute("aria-pressed")) === "true" && page.url().includes("status=idle"), page.url());
  await page.locator("#list").press("x");
  await eventually(page, (w) => w.markers >= 1 && !page.url().includes("status="), "all again by its key");
}

async function follows(page) {
  await zoomTo(page, 15.5);
  const subject = await movingOne(page);
  await page.locator("#search").fill(subject);
  await page.keyboard.press("Enter");
  await page.locator("#panel h2").waitFor({ timeout: DEADLINE_MS });
  await page.keyboard.press("f");
  await page.locator("#follow-chip").waitFor({ timeout: DEADLINE_MS });
  const start = (await positions(page))[subject];
  const away = async () => {
    const [at, screen] = [(await positions(page))[subject], await page.evaluate(() => window.__waypost.screen())];
    return at && Math.hypot((at[0] - (screen.west + screen.east) / 2) / (screen.east - screen.west), (at[1] - (screen.south + screen.north) / 2) / (screen.north - screen.south));
  };
  const kept = await waitFor(page, async () => String((await positions(page))[subject]) !== String(start) && (await away()) < 0.1);
  check(kept, `${subject} is ${await away()} screens from the middle`);
  check(await page.locator("#follow-chip").isVisible(), "following ended by itself");
  await drag(page, page.locator(".maplibregl-canvas"), -150, 0);
  check(!(await page.locator("#follow-chip").isVisible()), "a hand did not end it");
  for (let i = 0; i < 2; i += 1) await page.keyboard.press("Escape");
  await page.locator("#search").fill("");
}

async function movingOne(page) {
  const before = await positions(page);
  let [found] = [];
  const some = await waitFor(page, async () => ([found] = Object.entries(await positions(page)).filter(([id, at]) => before[id] && String(before[id]) !== String(at)).map(([id]) => id)).length > 0);
  check(some, "nobody moves");
  return found;
}

async function recovers(page) {
  const before = await look(page);
  await server.kill();
  await eventually(page, (w) => w.shown === "reconnecting", "word of the lost connection");
  await server.start();
  await eventually(page, (w) => w.connection === "live" && w.markers > 0 && w.epoch !== before.epoch && w.drawn === w.markers, "the recovery");
  await moves(page);
}
