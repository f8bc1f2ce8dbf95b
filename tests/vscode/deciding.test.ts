import assert from "node:assert/strict";
import { RIGHT, suite, WRONG } from "./fixture.ts";
import { CALC, FIXED } from "./project.ts";
import { fenced } from "./scriptedModel.ts";
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
    await window.chooseLens("Accept", window.proposal, "hidden");
    await window.save("calc.py", () => read("calc.py") === FIXED);
    await window.picture("accepted");
    await window.undo("calc.py");
    await window.save("calc.py", () => read("calc.py") === CALC);
  });

  browserTest("a proposal is discarded from the view that lists what waits", async ({ open, read }) => {
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.proposal.waitFor();
    // At once: VS Code itself leaves lenses out of an editor that loses the focus before it has asked for them.
    await window.openSideBar();
    await window.lens("Discard").waitFor();
    const receipt = window.page.getByText("1 of 2 passed before → 2 of 2 pass now").first();
    await window.clickUntil(window.waiting("calc.py").locator(".monaco-tl-twistie"), receipt);
    await window.waiting("calc.py").hover();
    await window.picture("waiting");
    const discard = window.waiting("calc.py").getByRole("button", { name: "Discard Proposal" });
    await window.clickUntil(discard, window.proposal, "hidden");
    await window.waiting("calc.py").waitFor({ state: "detached" });
    assert.equal(await window.dirtyTab("calc.py").count(), 0);
    assert.equal(read("calc.py"), CALC);
  });

  browserTest("a file that was edited in the same place meanwhile is left alone, with the reason", async (fixture) => {
    const window = await fixture.open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.proposal.waitFor();
    await window.editOriginal("return a - b", "return a - b  # mine");
    await window.lens("Does not fit the file any more: why?").waitFor();
    await window.command("OCI: Accept Proposal");
    await window.notification("The proposal was not applied: calc.py was changed in the same place").waitFor();
    await window.picture("refused");
    await window.save("calc.py", () => fixture.read("calc.py") === CALC.replace("a - b", "a - b  # mine"));
  });

  browserTest("a proposal is refined with feedback, and both wait when the window was closed", async (fixture) => {
    fixture.model.script([RIGHT, fenced("def add(a, b):\n    return sum((a, b))")]);
    const first = await fixture.open("calc.py", 2);
    await first.serverRuns();
    await first.command("Fix with OCI");
    await first.chooseLens("Refine…", first.quickInput);
    await first.quickInput.fill("Use sum.");
    await first.picture("feedback");
    await first.quickInput.press("Enter");
    await first.lens("OCI verified: 2 of 2 tests pass, 2 rounds").waitFor();
    await first.picture("refined");
    await first.close();

    const window = await fixture.open("calc.py", 2);
    await window.openSideBar();
    await until("both proposals", async () => (await window.waiting("calc.py").count()) === 2);
    assert.equal(await window.proposal.count(), 0, "what waits does not push itself forward");
    await window.picture("kept");
    await window.clickUntil(window.waiting("calc.py").last(), window.proposal);
    await window.chooseLens("Accept", window.proposal, "hidden");
    await window.save("calc.py", () => fixture.read("calc.py") === CALC.replace("a - b", "sum((a, b))"));
    await until("the other to wait on", async () => (await window.waiting("calc.py").count()) === 1);
  });

  browserTest("a proposal is explained beside it, as the model writes", async ({ model, open }) => {
    model.script([RIGHT, "The sign was wrong, so the test got a difference. I turned it into a sum."]);
    const window = await open("calc.py", 2);
    await window.serverRuns();
    await window.command("Fix with OCI");
    await window.lens("OCI verified").waitFor();
    await window.command("OCI: Explain Proposal");
    await window.reply("The sign was wrong, so the test got a difference").waitFor();
    await window.serverRuns();
    await window.picture("explained");
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
