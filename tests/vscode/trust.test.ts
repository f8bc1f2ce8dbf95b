import assert from "node:assert/strict";
import { suite } from "./fixture.ts";
import { CALC } from "./project.ts";

suite({ asksForTrust: true }, (browserTest) => {
  browserTest("a workspace that is not trusted runs nothing until it is trusted", async ({ model, open, read }) => {
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.notification("This workspace is not trusted, so nothing is run").waitFor();
    await window.picture("untrusted");
    await window.command("Notifications: Clear All Notifications");
    await window.codeAction("Fix with OCI");
    await window.notification("This workspace is not trusted, so nothing is run").waitFor();
    assert.equal(model.asked, 0);
    assert.equal(read("calc.py"), CALC);

    await window.pressButton("This workspace is not trusted", "Manage Workspace Trust");
    const ready = window.status.and(window.page.locator('[aria-label^="OCI is ready"]'));
    const trust = window.page.locator(".workspace-trust-editor .monaco-button", { hasText: /^Trust$/ }).first();
    await trust.waitFor();
    await window.clickUntil(trust, ready);
    const editor = window.page.locator(".monaco-modal-editor-block");
    await window.clickUntil(editor.locator('[aria-label^="Close"]').first(), editor, "hidden");
    await window.command("Fix with OCI");
    await window.lens("OCI verified").waitFor();
    assert.equal(model.asked, 1);
  });
});
