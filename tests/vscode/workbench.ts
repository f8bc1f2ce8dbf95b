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

  /** Opens a folder with one of its files, the cursor at a line; `extension` is the folder of one more extension. */
  static async open(
    browser: Browser,
    server: CodeServer,
    folder: string,
    file: string,
    line = 1,
    extension?: string,
  ): Promise<Workbench> {
    const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const payload = {
      gotoLineMode: "true",
      openFile: server.uri(`${join(folder, file)}:${line}:1`),
      ...(extension ? { extensionDevelopmentPath: server.uri(extension) } : {}),
    };
    await page.goto(server.address(folder, payload), { waitUntil: "commit" });
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

  /** Keeps pictures of how a test has failed, and of what the user was told before. */
  async failed(name: string): Promise<void> {
    await this.picture(`FAILED ${name}`);
    await this.page.keyboard.press("Escape");
    await this.listNotifications();
    await this.picture(`FAILED ${name}, notifications`);
  }

  /** Runs a command by the name that the palette shows. */
  async command(label: string): Promise<void> {
    const rows = this.page.locator(".quick-input-widget .monaco-list-row");
    const row = rows.and(this.page.locator(`[aria-label="${label}"], [aria-label^="${label}, "]`)).first();
    await until(`the command ${label}`, async () => {
      await this.press("F1", this.quickInput);
      await this.quickInput.fill(`>${label}`);
      if (await appears(row)) {
        return this.choose(row);
      }
      await this.page.keyboard.press("Escape");
      return false;
    });
  }

  /** Clicks an entry of what closes when one is chosen: that it is gone tells more than how the click went. */
  private async choose(entry: Locator): Promise<boolean> {
    await clicked(entry);
    if (await appears(entry, "hidden")) {
      return true;
    }
    await this.page.keyboard.press("Escape");
    return false;
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

  /** Whether something goes away, or is not there. */
  async gone(shown: Locator): Promise<boolean> {
    return appears(shown.first(), "hidden");
  }

  /** Chooses a code action at the cursor. */
  async codeAction(title: string): Promise<void> {
    const row = this.page.locator(`.action-widget .monaco-list-row.action[aria-label^="${title}"]`);
    await until(`the code action ${title}`, async () => {
      await this.page.keyboard.press("Control+1");
      await this.page.keyboard.press("Control+.");
      if (await appears(row)) {
        return this.choose(row);
      }
      await this.page.keyboard.press("Escape");
      return false;
    });
  }

  /** Chooses an entry of a place's context menu; `picture` names one of the menu. */
  async contextMenu(place: Locator, title: string, picture: string): Promise<void> {
    const entry = this.page.locator(".monaco-menu .action-item", { hasText: title });
    await place.waitFor();
    await until(`${title} in the menu`, async () => {
      const isOpen = await place.click({ button: "right", timeout: AT_ONCE }).then(yes, no);
      if (isOpen && (await appears(entry))) {
        await this.picture(picture);
        return this.choose(entry);
      }
      await this.page.keyboard.press("Escape");
      return false;
    });
  }

  tab(name: string): Locator {
    return this.page.locator(`.tabs-container .tab[data-resource-name="${name}"]`);
  }

  dirtyTab(name: string): Locator {
    return this.page.locator(`.tabs-container .tab.dirty[data-resource-name="${name}"]`);
  }

  /** Saves a file that has a tab, until what is on disk is as it has to be. */
  async save(name: string, isSaved: () => boolean): Promise<void> {
    await until(`${name} to be saved`, async () => {
      if (isSaved() && (await this.dirtyTab(name).count()) === 0) {
        return true;
      }
      await this.focus(name);
      await this.page.keyboard.press("Control+s");
      return false;
    });
  }

  /** Takes back the last change of a file that has a tab and is saved. */
  async undo(name: string): Promise<void> {
    await until(`${name} to be as before`, async () => {
      await this.focus(name);
      await this.page.keyboard.press("Control+z");
      return appears(this.dirtyTab(name));
    });
  }

  private async focus(name: string): Promise<void> {
    await clicked(this.tab(name).and(this.page.locator(":not([aria-label*=proposal])")).first());
  }

  /** The diff of a file and a proposal for it. */
  get proposal(): Locator {
    return this.page.locator(".editor-instance .monaco-diff-editor");
  }

  /** A lens above the proposal's first change. */
  lens(text: string): Locator {
    return this.proposal.locator(".editor.modified .codelens-decoration a", { hasText: text });
  }

  /** Clicks a lens until something that follows shows, or is gone. */
  async chooseLens(text: string, follows: Locator, state: "visible" | "hidden" = "visible"): Promise<void> {
    await this.lens(text).first().waitFor();
    await this.clickUntil(this.lens(text).first(), follows, state);
  }

  /** Opens the companion's side bar, which its icon closes if it is open. */
  async openSideBar(): Promise<void> {
    const label = this.page.locator('.action-label[aria-label^="OCI Companion"]');
    const tree = this.page.getByRole("tree", { name: "Proposals" });
    await this.clickUntil(this.page.locator(".activitybar .action-item", { has: label }), tree);
  }

  /** Clicks until something shows, or is gone: a click is lost where the window moves or draws anew beneath it. */
  async clickUntil(place: Locator, follows: Locator, state: "visible" | "hidden" = "visible"): Promise<void> {
    await until(`a click on ${String(place)} to do what it is for`, async () => {
      const is = (await follows.first().isVisible()) ? "visible" : "hidden";
      return is === state || ((await clicked(place)) && (await appears(follows.first(), state)));
    });
  }

  /** A proposal in the side bar's list of what waits. */
  waiting(name: string): Locator {
    return this.page.getByRole("tree", { name: "Proposals" }).locator(".monaco-list-row", { hasText: name });
  }

  /** Puts another line in the place of one of the file that a proposal is compared with. */
  async editOriginal(text: string, replacement: string): Promise<void> {
    const original = this.proposal.locator(".editor.original");
    const line = (of: string): Locator => original.locator(".view-line").filter({ hasText: of.replaceAll(" ", "\u00a0") });
    await until(`the line ${replacement}`, async () => {
      if (await line(replacement).isVisible()) {
        return true;
      }
      // The diff may take the focus to its other side, which cannot be written to, until all of it is there.
      if ((await clicked(line(text))) && (await appears(original.locator(".monaco-editor.focused")))) {
        await this.page.keyboard.press("End");
        await this.page.keyboard.press("Shift+Home");
        await this.page.keyboard.insertText(replacement);
      }
      return appears(line(replacement));
    });
  }

  /** A line of a document in which what the model writes is watched. */
  reply(text: string): Locator {
    const streamed = ':is([data-uri^="oci-reply:"], [data-uri^="oci-explanation:"])';
    const lines = this.page.locator(`.monaco-editor${streamed} .view-line`);
    return lines.filter({ hasText: text.replaceAll(" ", "\u00a0") }).first();
  }

  /** Opens the walkthrough, as the palette does. */
  async walkthrough(): Promise<void> {
    await this.command("Welcome: Open Walkthrough...");
    await this.pick("Get started with OCI Companion");
    await this.page.locator(".getting-started-step").first().waitFor();
    // For a picture with all of it; what is tested does not need it.
    await appears(this.page.locator("iframe.webview.ready").first());
  }

  /** Presses the button of a step of the walkthrough, until something that follows shows. */
  async walkthroughButton(step: string, button: string, follows: Locator): Promise<void> {
    const shown = this.page.locator(".getting-started-step", { hasText: step });
    const press = shown.locator(".monaco-button", { hasText: button });
    await this.clickUntil(shown.locator(".step-title"), press);
    await this.clickUntil(press, follows);
  }

  /** A notification that is shown with this text in it, by itself or in the list of all. */
  notification(text: string | RegExp): Locator {
    const place = ":is(.notifications-toasts, .notifications-center)";
    return this.page.locator(`${place} .notification-list-item`).filter({ hasText: text });
  }

  /** Presses a notification's button, until the notification is gone. */
  async pressButton(notification: string | RegExp, button: string): Promise<void> {
    const shown = this.notification(notification).first();
    const press = shown.locator(".monaco-button", { hasText: button }).first();
    await shown.waitFor();
    let isTried = false;
    await until(`${button} to be pressed`, async () => {
      // One that has hidden itself, as most do after some seconds, is in the list; one that was answered is not.
      if (!(await appears(shown)) && !((await this.listNotifications()) && (await appears(shown)))) {
        return isTried;
      }
      isTried = true;
      return (await clicked(press)) && (await appears(shown, "hidden"));
    });
  }

  /** Opens the list of all notifications, or closes it. */
  private async listNotifications(): Promise<boolean> {
    return clicked(this.page.locator('[id="status.notifications"]'));
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
    const row = this.page.locator(".quick-input-widget .monaco-list-row", { hasText: text }).first();
    await row.waitFor();
    await this.clickUntil(row, row, "hidden");
  }
}

async function appears(locator: Locator, state: "visible" | "hidden" = "visible"): Promise<boolean> {
  return locator.waitFor({ state, timeout: AT_ONCE }).then(yes, no);
}

async function clicked(locator: Locator): Promise<boolean> {
  return locator.click({ timeout: AT_ONCE }).then(yes, no);
}

const yes = (): boolean => true;
const no = (): boolean => false;
