import { given } from "./codeServer.ts";
import { suite } from "./fixture.ts";
import { CALC, FIXED } from "./project.ts";
import { until } from "./until.ts";

const settings = {
  "oci.server.python": given.python,
  "oci.interpreter": given.python,
  "workbench.colorTheme": "Default High Contrast",
};

suite({ settings }, (browserTest) => {
  browserTest("a repair is asked for, discarded and accepted by keys alone, in high contrast", async ({ open, read }) => {
    const window = await open("calc.py", 2);
    const decide = async (key: string): Promise<void> => {
      // The notification may have come and gone before it is seen.
      await window.press("Control+Alt+F", window.notification("Fix with OCI").or(window.proposal).first());
      await window.lens("OCI verified").waitFor();
      await window.picture(`keys and contrast, ${key}`);
      await until(`${key} to decide`, async () => {
        await window.page.keyboard.press(key);
        return window.gone(window.proposal);
      });
    };
    await window.serverRuns();
    await decide("Control+Backspace");
    await decide("Control+Enter");
    await until("the repaired file", async () => {
      await window.page.keyboard.press("Control+s");
      return read("calc.py") === FIXED;
    });
    await until("the file as it was", async () => {
      await window.page.keyboard.press("Control+z");
      await window.page.keyboard.press("Control+s");
      return read("calc.py") === CALC;
    });
  });
});
