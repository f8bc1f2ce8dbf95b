import assert from "node:assert/strict";
import { CALC, FIXED, suite, WRONG } from "./fixture.ts";
import { until } from "./until.ts";

suite({}, (browserTest) => {
  browserTest("a failing test is fixed, the proposal shown, accepted and undone", async ({ open, read }) => {
    const window = await open("test_calc.py", 5);
    await window.serverRuns();
    await window.codeAction("Fix failing test with OCI");
    await window.proposal.waitFor();
    await window.lens("OCI verified: 2 of 2 tests pass, 1 round").waitFor();
    await window.picture("proposal");
    assert.equal(read("calc.py"), CALC, "nothing is applied before it is accepted");
    await window.lens("Accept").click();
    await window.proposal.waitFor({ state: "detached" });
    await window.save("calc.py");
    await until("the repaired file", () => read("calc.py") === FIXED);
    await window.picture("accepted");
    await window.page.keyboard.press("Control+z");
    await window.dirtyTab("calc.py").waitFor();
    await window.save("calc.py");
    await until("the file as it was", () => read("calc.py") === CALC);
  });

  browserTest("a proposal is discarded from the view that lists what waits", async ({ open, read }) => {
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    // VS Code may leave lenses out for good where the layout changes before it has shown them.
    await window.lens("Discard").waitFor();
    await window.openSideBar();
    await window.waiting("calc.py").locator(".monaco-tl-twistie").click();
    await window.page.getByText("1 of 2 passed before → 2 of 2 pass now").first().waitFor();
    await window.waiting("calc.py").hover();
    await window.picture("waiting");
    await window.waiting("calc.py").getByRole("button", { name: "Discard Proposal" }).click();
    await window.proposal.waitFor({ state: "detached" });
    await window.waiting("calc.py").waitFor({ state: "detached" });
    assert.equal(await window.dirtyTab("calc.py").count(), 0);
    assert.equal(read("calc.py"), CALC);
  });

  browserTest("a file that was edited in the same place meanwhile is left alone, with the reason", async (fixture) => {
    const window = await fixture.open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.proposal.waitFor();
    await window.editOriginal("a - b", "a - b  # mine");
    await window.lens("Does not fit the file any more: why?").waitFor();
    await window.command("OCI: Accept Proposal");
    await window.notification("The proposal was not applied: calc.py was changed in the same place").waitFor();
    await window.picture("refused");
    await window.save("calc.py");
    assert.equal(fixture.read("calc.py"), CALC.replace("a - b", "a - b  # mine"));
  });

  browserTest("what the tests have not proven says so", async ({ model, open }) => {
    model.script([WRONG]);
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.proposal.waitFor();
    await window.lens("OCI NOT VERIFIED: 1 of 2 tests pass").waitFor();
    await window.picture("not verified");
  });
});
