/** On a system without the sandbox. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { given } from "./codeServer.ts";
import { suite } from "./fixture.ts";

const TOLD = "OCI needs Linux: open this folder in WSL, in a dev container or over SSH.";

suite({ settings: {}, package: given.package }, (browserTest) => {
  browserTest("nothing is set up, and the way to Linux is named", async ({ open, extensions }) => {
    // The editor here is one for Linux, so that it is the extension that is told otherwise.
    const installed = readdirSync(extensions).find((name) => name.startsWith("oci-companion."));
    assert.ok(installed);
    const bundle = join(extensions, installed, "dist", "extension.js");
    const code = readFileSync(bundle, "utf-8");
    const asked = 'process.platform==="linux"';
    assert.ok(code.includes(asked));
    writeFileSync(bundle, code.replaceAll(asked, '"win32"==="linux"'));

    const window = await open("calc.py");
    await window.notification(TOLD).waitFor();
    await window.picture("elsewhere");
    await window.command("Notifications: Clear All Notifications");
    await window.command("OCI: Set Up");
    await window.notification(TOLD).waitFor();
    await window.page.locator(`[aria-label="OCI is off. ${TOLD}"]`).first().waitFor();
  });
});
