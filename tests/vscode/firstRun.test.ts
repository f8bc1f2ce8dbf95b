/** From the installed package to a repair by the real default model, with nothing but what a user can click. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { given, install } from "./codeServer.ts";
import { suite } from "./fixture.ts";
import { until } from "./until.ts";

/** Milliseconds for what downloads packages, or computes with the model, on a busy machine. */
const LONG = 600_000;
const STEPS = { setUp: "Set up the Python side", model: "Choose a model", example: "Repair an example" };

const settings = {
  "oci.endpoint": "",
  "oci.testArgs": [],
  // The time limit is for users, who wait: here the machine may be busy.
  "oci.timeLimit": 600,
  // Minutes: the engine, unless it is another's, ends soon after the test.
  "oci.engine.idleUnload": 0.5,
};

/** The server's environments in the extension's storage. */
function environments(storage: string): string[] {
  return readdirSync(storage).filter((name) => name.startsWith("server-"));
}

// In the user's home, where the model may be.
suite({ settings, package: given.olderPackage, environment: {} }, (browserTest) => {
  browserTest("set up, update, choose a model, and see the example repaired", async ({ open, extensions, storage }) => {
    const first = await open("calc.py");
    await first.notification("OCI needs a Python environment of its own").waitFor();
    await first.picture("first run");
    await first.command("Notifications: Clear All Notifications");
    await first.walkthrough();
    await first.picture("walkthrough");
    const progress = first.notification("Setting up OCI");
    await first.walkthroughButton(STEPS.setUp, "Set Up", progress);
    await first.pressButton("Setting up OCI", "Cancel");
    await first.status.filter({ hasText: "OCI: off" }).waitFor();
    await until("nothing half-made", () => environments(storage).length === 0);

    await first.walkthroughButton(STEPS.setUp, "Set Up", progress);
    await first.notification(/Setting up OCI: (Collecting|Downloading|Installing)/).waitFor({ timeout: LONG });
    await first.picture("setting-up");
    await first.serverRuns(LONG);
    assert.deepEqual(environments(storage), ["server-0.0.1"]);
    await first.close();

    // Whoever has agreed once is not asked again.
    await install(given.package, extensions);
    const window = await open("calc.py");
    await window.notification("Setting up OCI").waitFor();
    await window.picture("updating");
    await window.serverRuns(LONG);
    const versions = environments(storage);
    assert.equal(versions.length, 1);
    assert.notDeepEqual(versions, ["server-0.0.1"]);

    await window.walkthrough();
    const recommended = window.page.getByText("(recommended)").first();
    await window.walkthroughButton(STEPS.model, "Select Model", recommended);
    await window.picture("models");
    await window.pick("(recommended)");
    await window.notification(/OCI uses .* now/).waitFor({ timeout: LONG });

    await window.walkthroughButton(STEPS.example, "Repair the Example", window.tab("test_dates.py"));
    await window.status.filter({ hasText: /OCI: (loading the model|generating|testing)/ }).waitFor();
    await window.proposal.waitFor({ timeout: LONG });
    await window.lens("OCI verified").waitFor();
    await window.picture("example");
    await window.chooseLens("Accept", window.dirtyTab("dates.py"));
    await window.command("OCI: Doctor");
    await window.notification("OCI has all it needs on this machine").waitFor();
    await window.picture("doctor");
  });
});
