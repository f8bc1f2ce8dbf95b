import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { RIGHT, suite, WRONG } from "./fixture.ts";
import { CALC, FIXED } from "./project.ts";
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
    await window.chooseLens("Accept", window.proposal, "hidden");
    await window.save("calc.py", () => read("calc.py") === FIXED);
  });

  browserTest("what the model writes is watched beside the code", async ({ model, open }) => {
    const thoughts = "The test expects a sum, and `add` returns a difference. ".repeat(8);
    model.script([`${thoughts}\n\n${WRONG}`, RIGHT], 100);
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("OCI: Watch the Model's Reply");
    await window.reply("Nothing has been asked yet").waitFor();
    await window.command("Fix with OCI");
    await window.reply("The test expects a sum").waitFor();
    await window.status.filter({ hasText: "OCI: generating" }).waitFor();
    await window.lens("OCI verified").waitFor();
    // The last lines: the end is kept in view.
    await window.reply("return a + b").waitFor();
    await window.reply("> **verified**").waitFor();
    await window.page.mouse.move(700, 600); // off what shows a hint
    await window.gone(window.page.locator(".workbench-hover"));
    await window.picture("watching");
    await window.serverRuns();
  });

  browserTest("a server that is killed in the middle is started again", async ({ model, server, open, read }) => {
    model.script(["word ".repeat(5000)], 20);
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.notification(/Round 1 of 3: \d+ characters written/).waitFor();
    server.signalLanguageServer("SIGKILL");
    await window.notification("The OCI server ended while it was working. Nothing was changed").waitFor();
    await window.picture("killed");
    await window.notification("Fix with OCI: Round").waitFor({ state: "hidden" });
    await window.serverRuns();
    assert.equal(read("calc.py"), CALC);
    model.script([RIGHT]);
    await window.command("Fix with OCI");
    await window.lens("OCI verified").waitFor();
  });

  browserTest("a server that does not end when it is asked to is replaced all the same", async ({ server, open }) => {
    const window = await open("calc.py", 2);
    await window.serverRuns();
    server.signalLanguageServer("SIGSTOP");
    await window.command("OCI: Restart Server");
    await window.status.filter({ hasText: "OCI: starting" }).waitFor();
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.lens("OCI verified").waitFor();
  });
});
