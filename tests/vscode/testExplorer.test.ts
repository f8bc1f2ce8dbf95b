import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { given } from "./codeServer.ts";
import { suite } from "./fixture.ts";

const extension = fileURLToPath(new URL("pythonExtension", import.meta.url));

suite({ settings: { "oci.server.python": given.python }, extension }, (browserTest) => {
  browserTest("a test is fixed from the Test Explorer, with the Python extension's interpreter", async (fixture) => {
    // Only the interpreter that is selected has it.
    appendFileSync(join(fixture.project, "test_calc.py"), "\n\nimport pygls\n");
    const window = await fixture.open("calc.py");
    await window.serverRuns();
    await window.command("Testing: Focus on Test Explorer View");
    const row = window.page.locator(".test-explorer .monaco-list-row", { hasText: "test_add" });
    const entry = window.page.locator(".monaco-menu .action-item", { hasText: "Fix failing test with OCI" });
    await row.click({ button: "right" });
    await entry.waitFor();
    await window.picture("test explorer");
    await entry.click();
    await window.lens("OCI verified").waitFor();
  });
});
