// Tries the page in Chromium against a running server that holds at least one searched structure, one job and one
// adapter, as `s3delta quickstart` leaves behind.
//
//   node e2e/page.mjs http://127.0.0.1:8080 [FOLDER FOR SCREENSHOTS]
//   node e2e/page.mjs --mock [FOLDER]        against e2e/mock.mjs and web/dist
//
// CHROMIUM names the browser (default /usr/bin/chromium). Exits 1 at the first thing that does not hold.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [target, shots] = process.argv.slice(2);
if (!target) {
  console.error("usage: node e2e/page.mjs URL|--mock [FOLDER FOR SCREENSHOTS]");
  process.exit(2);
}
const mock = target === "--mock" ? await (await import("./mock.mjs")).start() : null;
const base = (mock?.url ?? target).replace(/\/$/, "");
const profile = await mkdtemp(join(tmpdir(), "s3delta-page-"));
if (shots) await mkdir(shots, { recursive: true });

const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
  viewport: { width: 1360, height: 900 },
  acceptDownloads: true,
  serviceWorkers: "block",
});
const page = browser.pages()[0] ?? (await browser.newPage());
page.setDefaultTimeout(15_000);

const complaints = [];
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
});
page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
page.on("request", (request) => {
  const { protocol, origin } = new URL(request.url());
  if (protocol.startsWith("http") && origin !== new URL(base).origin) complaints.push(`left the server: ${request.url()}`);
});

const api = async (path) => (await fetch(base + path)).json();
const open = async (path) => {
  await page.goto(base + path);
  await page.locator("main h1").first().waitFor();
};
let made = 0;
async function shot(name) {
  if (!shots) return;
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.waitForTimeout(150);
    await page.screenshot({ path: join(shots, `${String(made).padStart(2, "0")}-${name}-${scheme}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: "light" });
  made++;
}
async function step(name, run) {
  const from = Date.now();
  try {
    await run();
  } catch (error) {
    if (shots) await page.screenshot({ path: join(shots, "failed.png"), fullPage: true }).catch(() => {});
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
  console.log(`ok   ${name} (${Date.now() - from} ms)`);
}
const outlines = () => page.locator('[data-outline="chosen"]').count();
const download = async (button) => {
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: button, exact: true }).click()]);
  return readFile(await file.path());
};

let failed = false;
try {
  const summaries = (await api("/v1/structures?limit=100")).data;
  assert(summaries.length > 0, "the server has no structure: run `s3delta quickstart --exit` on its home first");
  let searched = null;
  for (const { id } of summaries) {
    const found = await api(`/v1/structures/${id}`);
    if (found.provenance.some((one) => one.probabilities?.length > 0)) {
      searched = found;
      break;
    }
  }
  assert(searched, "no structure of the server carries a search's probabilities");

  await step("every structure is listed", async () => {
    await open("/");
    await page.locator("table.structures").waitFor();
    assert.equal(await page.locator("table.structures td a.id").count(), summaries.length);
    await shot("structures");
  });

  await step("the filter narrows the list", async () => {
    await page.getByLabel("Find").fill(searched.id.slice(0, 8));
    await page.waitForFunction(() => document.querySelectorAll("table.structures td a.id").length === 1);
  });

  await step("the heatmap outlines each module of the structure", async () => {
    await page.locator("table.structures td a.id").click();
    await page.waitForURL(`**/structures/${searched.id}*`);
    await page.locator(".heatmap [data-module]").first().waitFor();
    assert.equal(await outlines(), searched.modules.length);
    const p = searched.provenance.findLast((one) => one.probabilities?.length > 0).probabilities;
    assert.equal(await page.locator(".heatmap [data-module]").count(), p.length);
    await shot("structure");
  });

  await step("a module tells its position and p", async () => {
    await page.locator(".heatmap [data-module]").first().hover();
    const position = await page.locator(".tip code").textContent();
    assert.match(position, /^(encoder|decoder)\./);
    await page.mouse.move(0, 0);
    await page.locator(".heatmap svg").focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowDown");
    await page.locator(".tip").waitFor();
    assert.notEqual(await page.locator(".tip code").textContent(), position);
    assert.match(await page.locator(".heatmap svg").getAttribute("aria-activedescendant"), /^module-\d+$/);
    await shot("tooltip");
  });

  await step("the budget slider chooses anew at once", async () => {
    const slider = page.getByRole("slider");
    await slider.focus();
    const before = await outlines();
    await page.keyboard.press("End");
    const all = await page.locator(".heatmap [data-module]").count();
    await page.waitForFunction((wanted) => document.querySelectorAll('[data-outline="chosen"]').length === wanted, all);
    await page.keyboard.press("Home"); // the smallest module's size
    await page.waitForFunction((most) => document.querySelectorAll('[data-outline="chosen"]').length < most, before);
    await page.keyboard.press("End");
    for (let press = 0; press < 2; press++) await page.keyboard.press("PageDown");
    await page.getByRole("button", { name: "Greedy" }).click();
    await page.waitForURL(/budget=\d+.*selection=greedy|selection=greedy.*budget=\d+/);
    await page.getByRole("button", { name: "Keep this choice" }).waitFor();
    const linked = await outlines();
    await page.reload();
    await page.locator(".heatmap [data-module]").first().waitFor();
    assert.equal(await outlines(), linked, "the address does not hold the budget");
    await shot("budget");
    await page.getByRole("button", { name: /^As stored/ }).click();
    await page.waitForFunction((wanted) => document.querySelectorAll('[data-outline="chosen"]').length === wanted, searched.modules.length);
  });

  await step("the figure and its data are exported", async () => {
    const svg = (await download("SVG")).toString();
    assert(svg.startsWith("<svg") && svg.includes("data-outline"), "no SVG");
    const png = await download("PNG");
    assert.equal(png.subarray(1, 4).toString(), "PNG");
    assert(png.length > 5000, "the PNG is blank");
    const csv = (await download("CSV")).toString().trim().split("\n");
    assert.equal(csv.filter((line) => line.endsWith(",true")).length, searched.modules.length);
    assert.equal(JSON.parse((await download("JSON")).toString()).id, searched.id);
  });

  await step("the same as a table", async () => {
    await page.getByRole("button", { name: "Table" }).click();
    await page.locator("tr.chosen").first().waitFor();
    assert.equal(await page.locator("tr.chosen").count(), searched.modules.length);
    await page.getByRole("button", { name: "p", exact: true }).click();
    await shot("table");
  });

  if (summaries.length > 1) {
    await step("two structures are compared", async () => {
      const other = summaries.find((one) => one.id !== searched.id);
      await open(`/structures/${searched.id}?compare=${other.id}`);
      await page.locator(".heatmap svg text", { hasText: "Δp" }).waitFor();
      await shot("compare");
    });
  }

  await step("jobs are listed and one is shown", async () => {
    const jobs = (await api("/v1/jobs?limit=100")).data;
    assert(jobs.length > 0, "the server has no job");
    await open("/jobs");
    await page.locator("tbody a.id").first().waitFor();
    assert.equal(await page.locator("tbody a.id").count(), jobs.length);
    await shot("jobs");
    const one = jobs.find((job) => job.state === "running") ?? jobs.find((job) => job.state === "succeeded") ?? jobs[0];
    await page.locator(`a.id[href="/jobs/${one.id}"]`).click();
    await page.waitForURL(`**/jobs/${one.id}`);
    await page.locator(".state").waitFor();
    assert.equal(await page.locator(".state").textContent(), one.state);
    if (one.state === "running") {
      const number = () => page.locator(".tile strong").nth(1).textContent();
      await page.locator(".tile strong").nth(1).waitFor();
      const before = await number();
      await page.waitForFunction((old) => document.querySelectorAll(".tile strong")[1]?.textContent !== old, before);
      await page.waitForTimeout(mock ? 8000 : 0);
    }
    await shot("job");
  });

  await step("an adapter gives a label", async () => {
    const adapters = (await api("/v1/adapters?limit=100")).data;
    const { name } = adapters.find((one) => one.generations.at(-1)?.task) ?? assert.fail("no adapter has a task");
    await open("/adapters");
    await page.locator(`tbody a[href="/adapters/${name}"]`).first().waitFor();
    await shot("adapters");
    await page.locator(`tbody a[href="/adapters/${name}"]`).first().click();
    await page.locator("form.try textarea").first().waitFor();
    for (const field of await page.locator("form.try textarea").all()) await field.fill("a warm and funny film");
    await page.getByRole("button", { name: "Predict" }).click();
    await page.locator(".answer .label").waitFor();
    assert((await page.locator(".answer .label").textContent()).length > 0);
    assert((await page.locator(".answer meter").count()) >= 2, "no score per label");
    await shot("adapter");
  });

  await step("several adapters over one text, and a completion", async () => {
    await open("/try");
    const boxes = page.getByRole("checkbox");
    await boxes.first().waitFor();
    const number = Math.min(3, await boxes.count());
    for (let box = 0; box < number; box++) await boxes.nth(box).check();
    for (const field of await page.locator("form.try").first().locator("textarea").all()) await field.fill("the harvest was late this year");
    await page.getByRole("button", { name: "Predict" }).click();
    await page.waitForFunction((wanted) => document.querySelectorAll(".answer").length === wanted, number);
    await page.locator("form.try").nth(1).locator("textarea").fill("the harvest was late this year");
    await page.getByRole("button", { name: "Complete" }).click();
    await page.getByRole("button", { name: "Complete" }).and(page.locator(":enabled")).waitFor();
    await page.locator("output.completion").waitFor();
    await shot("try");
  });

  await step("tasks, transfers and the form for a search", async () => {
    await open("/tasks");
    await page.locator("tbody tr").first().waitFor();
    await shot("tasks");
    await page.locator("tbody a").first().click();
    await page.getByRole("link", { name: "Search on it" }).click();
    await page.getByRole("button", { name: "Start the search" }).waitFor();
    await shot("search");
    await open("/transfers");
    await shot("transfers");
  });

  await step("it fits a small screen", async () => {
    await page.setViewportSize({ width: 390, height: 800 });
    for (const path of ["/", `/structures/${searched.id}`, "/jobs", "/try"]) {
      await open(path);
      await page.waitForTimeout(300);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert(wider <= 0, `${path} is ${wider} px wider than the screen`);
    }
    await open(`/structures/${searched.id}`);
    await page.locator(".heatmap [data-module]").first().waitFor();
    await shot("small");
    await page.setViewportSize({ width: 1360, height: 900 });
  });

  assert.deepEqual(complaints, [], "the browser complained");

  await step("an error is shown in the server's words", async () => {
    const { error } = await api("/v1/structures/00000000000000000000000000000000");
    await open("/structures");
    await page.goto(`${base}/structures/00000000000000000000000000000000`);
    await page.getByRole("alert").waitFor();
    assert((await page.getByRole("alert").textContent()).includes(error.message), "the server's message is not shown");
    await shot("error");
  });
  await step("a page of a list that fails to load is told beside what is there", async () => {
    const message = "the second page is lost";
    const list = await api("/v1/tasks");
    await page.route("**/v1/tasks?*", (route) =>
      route.request().url().includes("cursor=")
        ? route.fulfill({ status: 503, json: { error: { code: "lost", message, type: "server_error", param: null, request_id: "0" } } })
        : route.fulfill({ json: { ...list, next_cursor: "more" } }),
    );
    await page.goto(`${base}/tasks`);
    await page.getByRole("button", { name: "Load more" }).click();
    await page.getByRole("alert").filter({ hasText: message }).waitFor();
    await page.getByRole("link", { name: list.data[0].name, exact: true }).waitFor();
    await page.unroute("**/v1/tasks?*");
  });
  console.log("the page holds");
} catch (error) {
  failed = true;
  console.error(`FAILED ${error.message}`);
  for (const complaint of complaints) console.error(`  ${complaint}`);
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
  mock?.stop();
}
process.exit(failed ? 1 : 0);
