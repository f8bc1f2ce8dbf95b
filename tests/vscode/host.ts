/** VS Code's extension host, which runs tests of its own: as VS Code's own integration tests do in a browser. */

import { format } from "node:util";
import type { Browser } from "playwright-core";
import type { CodeServer } from "./codeServer.ts";

/** Milliseconds for all of a bundle's tests, on a busy machine. */
const LIMIT = 900_000;

interface Loaded {
  /** The folder of an extension under development, without which VS Code runs no tests. */
  readonly extension: string;
  /** Exports `run`. */
  readonly bundle: string;
}

/** Runs a bundle in the extension host of a window with a folder; fails as it does. */
export async function runInHost(
  browser: Browser,
  server: CodeServer,
  folder: string,
  { extension, bundle }: Loaded,
  onLine: (line: string) => void,
): Promise<void> {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    const ended = new Promise<number>((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Error(`the extension host's tests did not end in ${LIMIT / 1000} s`));
      }, LIMIT);
      void page.exposeFunction("codeAutomationExit", (status: number) => {
        clearTimeout(late);
        resolve(status);
      });
    });
    await page.exposeFunction("codeAutomationLog", (_kind: string, words: unknown[]) => {
      onLine(format(...words));
    });
    const payload = { extensionDevelopmentPath: server.uri(extension), extensionTestsPath: server.uri(bundle) };
    await page.goto(server.address(folder, payload), { waitUntil: "commit" });
    const status = await ended;
    if (status !== 0) {
      throw new Error(`the extension host's tests ended with status ${status}`);
    }
  } finally {
    await context.close();
  }
}
