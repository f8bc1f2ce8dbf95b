import { suite } from "./fixture.ts";

// Nothing listens there.
const environment = { PIP_INDEX_URL: "http://127.0.0.1:9/simple", PIP_EXTRA_INDEX_URL: "", PIP_RETRIES: "0" };

suite({ settings: {}, environment }, (browserTest) => {
  browserTest("who sets up without a connection is told what to do, and may try again", async ({ open }) => {
    const window = await open("calc.py");
    await window.pressButton("OCI needs a Python environment of its own", "Set Up");
    const told = "The Python packages could not be downloaded. Check the connection";
    await window.notification(told).waitFor();
    await window.picture("offline");
    await window.pressButton(told, "Try Again");
    await window.notification("Setting up OCI").waitFor();
    await window.notification(told).waitFor();
  });
});
