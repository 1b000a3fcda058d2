// The visit of browser_test.go as a Playwright script has it: node visit.mjs ADDRESS VISITS BROWSER
// It needs playwright-core from the npm registry in NODE_PATH's place: npm install --no-save playwright-core
import { createRequire } from "node:module";
import process from "node:process";

const require = createRequire(process.cwd() + "/");
const { chromium } = require("playwright-core");
const [address, visits, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
for (let i = 0; i < Number(visits); i++) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://${address}/visit`);
  await page.getByRole("link", { name: "Contact" }).click();
  await page.getByText("Contact us").waitFor();
  await context.close();
}
await browser.close();
