import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "./fixture.ts";

const bundle = fileURLToPath(new URL(join("..", "..", "dist", "hostTests.cjs"), import.meta.url));
// VS Code runs tests beside an extension that is developed: ours is the installed one.
const extension = fileURLToPath(new URL("pythonExtension", import.meta.url));

interface Result {
  readonly title: string;
  readonly error: string;
}

suite({ extension }, (browserTest) => {
  browserTest("the extension host's tests", async ({ runInHost, subtest }) => {
    const results: Result[] = [];
    await runInHost(bundle, (line) => {
      const [, kind, text = ""] = /^OCI host (test|note:) (.*)$/.exec(line) ?? [];
      if (kind === "test") {
        results.push(JSON.parse(text) as Result);
      } else if (kind) {
        console.log(text);
      }
    });
    assert.notEqual(results.length, 0);
    for (const { title, error } of results) {
      await subtest(title, () => {
        assert.equal(error, "");
      });
    }
  });
});
