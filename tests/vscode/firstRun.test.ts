/** From the installed package to a repair by the real default model, with nothing but what a user can click. */

import { execFileSync } from "node:child_process";
import { after } from "node:test";
import { given } from "./codeServer.ts";
import { suite } from "./fixture.ts";

/** Milliseconds for what downloads packages, or computes with the model, on a busy machine. */
const LONG = 600_000;

// The time limit is for users, who wait: here the machine may be busy.
const settings = { "oci.endpoint": "", "oci.testArgs": [], "oci.timeLimit": 600 };

suite({ settings }, (browserTest) => {
  after(() => {
    // The engine would wait a quarter of an hour for another request.
    execFileSync(given.python, ["-I", "-m", "lsp_server.cli", "serve", "--stop"]);
  });

  browserTest("set up, choose a model, and see the example repaired", async ({ open }) => {
    const window = await open("calc.py");
    await window.notification("OCI needs a Python environment of its own").waitFor();
    await window.picture("first run");
    await window.command("Welcome: Open Walkthrough...");
    await window.pick("Get started with OCI Companion");
    await window.page.getByText("Set up the Python side").first().waitFor();
    await window.picture("walkthrough");
    await window.pressButton("OCI needs a Python environment of its own", "Set Up");
    await window.notification(/Setting up OCI: (Collecting|Downloading|Installing)/).waitFor({ timeout: LONG });
    await window.picture("setting up");
    await window.serverRuns(LONG);

    await window.command("OCI: Select Model");
    await window.page.getByText("(recommended)").first().waitFor();
    await window.picture("models");
    await window.pick("(recommended)");
    await window.notification(/OCI uses .* now/).waitFor({ timeout: LONG });

    await window.command("OCI: Repair the Example");
    await window.proposal.waitFor({ timeout: LONG });
    await window.lens("OCI verified").waitFor();
    await window.picture("example");
    await window.lens("Accept").click();
    await window.dirtyTab("dates.py").waitFor();
    await window.command("OCI: Doctor");
    await window.notification("OCI has all it needs on this machine").waitFor();
    await window.picture("doctor");
  });
});
