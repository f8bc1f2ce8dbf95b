/** VS Code's window, by what a user sees of it. */

import { join } from "node:path";
import type { Browser, Locator, Page } from "playwright-core";
import { given, type CodeServer } from "./codeServer.ts";
import { PATIENCE, until } from "./until.ts";

/** Long enough for a widget to come up after a key, short enough to press it again if it was lost. */
const AT_ONCE = 4000;

export class Workbench {
  readonly page: Page;

  private constructor(page: Page) {
    this.page = page;
  }

  /** Opens a folder with one of its files, the cursor at a line. */
  static async open(browser: Browser, server: CodeServer, folder: string, file: string, line = 1): Promise<Workbench> {
    const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const uri = `vscode-remote://${new URL(server.url).host}${join(folder, file)}:${line}:1`;
    const payload = JSON.stringify([
      ["gotoLineMode", "true"],
      ["openFile", uri],
    ]);
    await page.goto(`${server.url}/?${new URLSearchParams({ folder, payload }).toString()}`, { waitUntil: "commit" });
    const workbench = new Workbench(page);
    await workbench.tab(file).first().waitFor();
    await page.locator(".editor-instance .view-lines .view-line").first().waitFor();
    return workbench;
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  /** Keeps a picture for whoever looks at how it was. */
  async picture(name: string): Promise<void> {
    await this.page.screenshot({ path: join(given.artefacts, `${name}.png`) });
  }

  /** Runs a command by the name that the palette shows. */
  async command(label: string): Promise<void> {
    const rows = this.page.locator(".quick-input-widget .monaco-list-row");
    const row = rows.and(this.page.locator(`[aria-label="${label}"], [aria-label^="${label}, "]`)).first();
    await until(`the command ${label}`, async () => {
      await this.press("F1", this.quickInput);
      await this.quickInput.fill(`>${label}`);
      if (!(await appears(row))) {
        await this.page.keyboard.press("Escape");
        return false;
      }
      await row.click();
      return true;
    });
  }

  /** The palette, an input box or a list to pick from. */
  get quickInput(): Locator {
    return this.page.locator(".quick-input-widget:visible .quick-input-box input");
  }

  /** Presses a key until something shows: while the window is still coming up, keys are lost. */
  async press(key: string, shows: Locator): Promise<void> {
    await until(`${key} to show something`, async () => {
      if (await shows.isVisible()) {
        return true;
      }
      await this.page.keyboard.press(key);
      return appears(shows);
    });
  }

  /** Chooses a code action at the cursor. */
  async codeAction(title: string): Promise<void> {
    const row = this.page.locator(`.action-widget .monaco-list-row.action[aria-label^="${title}"]`);
    await until(`the code action ${title}`, async () => {
      await this.page.keyboard.press("Control+1");
      await this.page.keyboard.press("Control+.");
      if (await appears(row)) {
        return true;
      }
      await this.page.keyboard.press("Escape");
      return false;
    });
    await row.click();
    await row.waitFor({ state: "hidden" });
  }

  tab(name: string): Locator {
    return this.page.locator(`.tabs-container .tab[data-resource-name="${name}"]`);
  }

  dirtyTab(name: string): Locator {
    return this.page.locator(`.tabs-container .tab.dirty[data-resource-name="${name}"]`);
  }

  /** Saves a file that has a tab. */
  async save(name: string): Promise<void> {
    await this.tab(name).and(this.page.locator(":not([aria-label*=proposal])")).first().click();
    await until(`${name} to be saved`, async () => {
      await this.page.keyboard.press("Control+s");
      return (await this.dirtyTab(name).count()) === 0;
    });
  }

  /** The diff of a file and a proposal for it. */
  get proposal(): Locator {
    return this.page.locator(".editor-instance .monaco-diff-editor");
  }

  /** A lens above the proposal's first change. */
  lens(text: string): Locator {
    return this.proposal.locator(".editor.modified .codelens-decoration a", { hasText: text });
  }

  /** Opens the companion's side bar. */
  async openSideBar(): Promise<void> {
    const label = this.page.locator('.action-label[aria-label^="OCI Companion"]');
    await this.page.locator(".activitybar .action-item", { has: label }).click();
  }

  /** A proposal in the side bar's list of what waits. */
  waiting(name: string): Locator {
    return this.page.getByRole("tree", { name: "Proposals" }).locator(".monaco-list-row", { hasText: name });
  }

  /** Changes a text in the file that a proposal is compared with. */
  async editOriginal(text: string, replacement: string): Promise<void> {
    const line = this.proposal.locator(".editor.original .view-line").filter({ hasText: text.replaceAll(" ", "\u00a0") });
    await line.click();
    await this.page.keyboard.press("End");
    for (let left = text.length; left > 0; left--) {
      await this.page.keyboard.press("Backspace");
    }
    await this.page.keyboard.insertText(replacement);
  }

  /** A notification that is shown with this text in it. */
  notification(text: string | RegExp): Locator {
    return this.page.locator(".notifications-toasts .notification-list-item").filter({ hasText: text });
  }

  async pressButton(notification: string | RegExp, button: string): Promise<void> {
    await this.notification(notification).locator(".monaco-button", { hasText: button }).first().click();
  }

  /** The companion's item in the status bar. */
  get status(): Locator {
    return this.page.locator('[id="oci-companion.oci-companion.oci.status"]');
  }

  /** Waits until the language server runs. */
  async serverRuns(timeout = PATIENCE): Promise<void> {
    const running = this.page.locator('[aria-label^="OCI is ready"], [aria-label^="OCI waits"]');
    await this.status.and(running).waitFor({ timeout });
  }

  /** Picks a row of the list that is shown. */
  async pick(text: string): Promise<void> {
    await this.page.locator(".quick-input-widget .monaco-list-row", { hasText: text }).first().click();
  }
}

async function appears(locator: Locator): Promise<boolean> {
  try {
    await locator.waitFor({ timeout: AT_ONCE });
    return true;
  } catch {
    return false;
  }
}
