/** Runs in VS Code's extension host, beside the installed extension, and tells `host.test.ts` how each test ended. */

import { tests } from "./tests.ts";

/** Before what `host.test.ts` is told: the host's console has other lines as well. */
const RESULT = "OCI host test ";

/** What VS Code calls, and waits for. */
export async function run(): Promise<void> {
  for (const [title, body] of Object.entries(tests)) {
    const begun = performance.now();
    let error = "";
    try {
      await body();
    } catch (thrown) {
      error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    }
    console.log(RESULT + JSON.stringify({ title, error, milliseconds: performance.now() - begun }));
  }
}
