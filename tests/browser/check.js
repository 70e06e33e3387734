/* Opens every page of a site in Chromium and prints what is wrong, as JSON.
   node check.js FOLDER ADDRESS CHROMIUM [SCREENSHOTS]; NODE_PATH has playwright-core and axe-core. */
"use strict";
const fs = require("fs");
const path = require("path");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [folder, address, browserPath, screenshots] = process.argv.slice(2);
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const pages = fs.readdirSync(folder).filter((name) => name.endsWith(".html"));
const found = { errors: [], outside: [], axe: [], wide: [], charts: 0, interactive: 0, filtered: {}, stale: {}, sliders: null, plain: null };

async function check(context, base, mode, deep) {
  for (const name of pages) {
    const page = await context.newPage();
    const where = `${mode} ${base.slice(0, 5)} ${name}`;
    page.on("console", (message) => { if (message.type() === "error") found.errors.push(`${where}: ${message.text()}`); });
    page.on("pageerror", (error) => found.errors.push(`${where}: ${error.message}`));
    page.on("request", (request) => { if (!request.url().startsWith(base) && !request.url().startsWith("data:") && !request.url().startsWith("blob:")) found.outside.push(`${where}: ${request.url()}`); });
    await page.goto(base + name);
    const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (tooWide > 0) found.wide.push(`${where}: ${tooWide} px`);
    found.stale[name] = await page.evaluate(() => { const banner = document.getElementById("stale"); return banner ? !banner.hidden : null; });
    if (await page.evaluate(() => "pwned" in window)) found.errors.push(`${where}: a text was obeyed`);
    await page.evaluate(axe);
    const result = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"], preload: false }));
    for (const one of result.violations)
      if (["serious", "critical"].includes(one.impact)) found.axe.push(`${where}: ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    if (deep) await use(page, where);
    if (screenshots) await page.screenshot({ path: path.join(screenshots, `${name.replace(".html", "")}_${mode}.png`), fullPage: true });
    await page.close();
  }
}

async function use(page, where) {
  const drawn = await page.$$eval(".plot svg", (all) => all.map((one) => one.querySelectorAll("path").length));
  if (drawn.some((count) => count === 0)) found.errors.push(`${where}: an empty chart`);
  found.charts += drawn.length;
  for (const button of await page.$$("button[data-chart]")) {
    await button.click();
    const name = await button.getAttribute("data-chart");
    try {
      await page.waitForSelector(`#plot-${name} .marks`, { timeout: 15000 });
      found.interactive += 1;
    } catch { found.errors.push(`${where}: ${name} is not interactive: ${await button.textContent()}`); }
  }
  for (const input of await page.$$("input[data-filter]")) {
    const target = await input.getAttribute("data-filter");
    const count = () => page.$$eval(`#${target} [data-row]`, (rows) => rows.filter((row) => !row.hidden).length);
    const before = await count();
    await input.fill("no such word anywhere");
    const none = await count();
    await input.fill("");
    found.filtered[target] = [before, none, await count()];
  }
  const sliders = await page.$$("input[type=range]");
  if (sliders.length) {
    const read = () => page.$$eval("tr[data-horizon]", (rows) => Object.fromEntries(rows.map((row) => [row.dataset.horizon, Object.fromEntries([...row.querySelectorAll("[data-answer]")].map((cell) => [cell.dataset.answer, cell.textContent]))])));
    const moves = () => page.$$eval("input[type=range]", (all) => Object.fromEntries(all.map((one) => [one.dataset.input, Number(one.value)])));
    const states = [{ moves: await moves(), answers: await read() }];
    for (const share of [0.1, 0.37, 0.62, 0.8, 1])
      for (const other of [share, 1 - share]) {
        for (const [place, slider] of sliders.entries())
          await slider.evaluate((one, part) => { one.value = Number(one.min) + part * (one.max - one.min); one.dispatchEvent(new Event("input", { bubbles: true })); }, place % 2 ? other : share);
        states.push({ moves: await moves(), answers: await read() });
      }
    await sliders[0].focus();
    await page.keyboard.press("ArrowLeft");
    states.push({ moves: await moves(), answers: await read() });
    if (screenshots) await page.screenshot({ path: path.join(screenshots, "sliders_moved.png"), fullPage: true });
    await page.click("#sliders-back");
    states.push({ moves: await moves(), answers: await read() });
    found.sliders = { count: sliders.length, states };
  }
}

async function withoutScripts(browser, base) {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(base + "what_if.html");
  found.plain = { sliders: await page.locator("#sliders").isVisible(), text: await page.locator("main").innerText() };
  for (const summary of await page.locator("summary").all()) await summary.click();
  found.plain.opened = await page.locator("main").innerText();
  await context.close();
}

(async () => {
  const browser = await chromium.launch({ executablePath: browserPath, args: FLAGS });
  for (const [base, everything] of [[`file://${folder}/`, true], [address, false]])
    for (const size of everything ? ["desktop", "phone"] : ["desktop"])
      for (const scheme of everything ? ["light", "dark"] : ["light"]) {
        const context = await browser.newContext({ viewport: SIZES[size], colorScheme: scheme });
        await check(context, base, `${size}_${scheme}`, size === "desktop" && scheme === "light");
        await context.close();
      }
  await withoutScripts(browser, `file://${folder}/`);
  await browser.close();
  console.log(JSON.stringify(found));
})().catch((error) => { console.error(error); process.exit(1); });
