import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CALC, FIXED, RIGHT, suite } from "./fixture.ts";
import { until } from "./until.ts";

suite({}, (browserTest) => {
  browserTest("a repair that is cancelled in the middle changes nothing", async ({ model, open, read }) => {
    model.script(["word ".repeat(5000)], 20);
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.notification(/Round 1 of 3: \d+ characters written/).waitFor();
    await window.picture("progress");
    await window.pressButton("Fix with OCI", "Cancel");
    await until("the model to be left alone", () => model.brokenOff === 1);
    await window.notification("Fix with OCI").waitFor({ state: "hidden" });
    await window.serverRuns();
    assert.equal(read("calc.py"), CALC);
    assert.equal(await window.page.locator(".tab.dirty").count(), 0);
  });

  browserTest("code is generated from an instruction, asked for by a key", async ({ project, open, read }) => {
    writeFileSync(join(project, "calc.py"), CALC.replace("return a - b", "..."));
    const window = await open("calc.py", 1);
    await window.serverRuns();
    await window.press("Control+Alt+Shift+G", window.quickInput);
    await window.quickInput.fill("Add the two numbers");
    await window.picture("instruction");
    await window.quickInput.press("Enter");
    await window.lens("Accept").click();
    await window.proposal.waitFor({ state: "detached" });
    await window.save("calc.py");
    await until("the generated code", () => read("calc.py") === FIXED);
  });

  browserTest("a server that is killed in the middle is started again", async ({ model, server, open, read }) => {
    model.script(["word ".repeat(5000)], 20);
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.notification(/Round 1 of 3: \d+ characters written/).waitFor();
    server.killLanguageServer();
    await window.notification("The OCI server ended while it was working. Nothing was changed").waitFor();
    await window.picture("killed");
    await window.notification("Fix with OCI: Round").waitFor({ state: "hidden" });
    await window.serverRuns();
    assert.equal(read("calc.py"), CALC);
    model.script([RIGHT]);
    await window.command("Fix with OCI");
    await window.lens("OCI verified").waitFor();
  });
});
