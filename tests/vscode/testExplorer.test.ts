import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { given } from "./codeServer.ts";
import { suite, type Fixture } from "./fixture.ts";
import type { Workbench } from "./workbench.ts";

const extension = fileURLToPath(new URL("pythonExtension", import.meta.url));
const FIX = "Fix failing test with OCI";

/** Opens the Test Explorer of a project whose tests run in the interpreter only that the Python extension names. */
async function testExplorer({ project, open }: Fixture): Promise<Workbench> {
  // Without the Python extension this one would be taken, which has no packages at all.
  execFileSync(given.python, ["-m", "venv", "--without-pip", join(project, ".venv")]);
  appendFileSync(join(project, "test_calc.py"), "\n\nimport pygls\n");
  const window = await open("calc.py");
  await window.serverRuns();
  await window.command("Testing: Focus on Test Explorer View");
  return window;
}

suite({ settings: { "oci.server.python": given.python }, extension }, (browserTest) => {
  browserTest("a test is fixed from the Test Explorer, with the Python extension's interpreter", async (fixture) => {
    const window = await testExplorer(fixture);
    const row = window.page.locator(".test-explorer .monaco-list-row", { hasText: "test_add" });
    await window.contextMenu(row, FIX, "test explorer");
    await window.lens("OCI verified").waitFor();
  });

  browserTest("a test is fixed from its result, and from the message of its failure", async (fixture) => {
    const window = await testExplorer(fixture);
    await window.command("Test: Run All Tests");
    await window.command("Test Results: Focus on Test Results View");
    const rows = window.page.locator(".test-output-peek-tree .monaco-list-row");
    const result = rows.filter({ hasText: "test_add" });
    await window.contextMenu(result, FIX, "test result");
    await window.chooseLens("Discard", window.proposal, "hidden");
    const message = rows.filter({ hasText: "add(2, 3) is -1" });
    await window.clickUntil(result.locator(".monaco-tl-twistie"), message);
    await window.contextMenu(message, FIX, "test message");
    await window.lens("OCI verified").waitFor();
  });
});
