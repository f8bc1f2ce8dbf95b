import assert from "node:assert/strict";
import { CALC, suite } from "./fixture.ts";
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
});
