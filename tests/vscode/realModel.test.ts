/** The default model itself, in our own engine, on a project that it has not seen: it is asked greedily, so it repeats itself. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { given } from "./codeServer.ts";
import { suite } from "./fixture.ts";

/** Milliseconds for what loads the model, or computes with it, on a busy machine. */
const LONG = 600_000;

const settings = {
  "oci.server.python": given.python,
  "oci.interpreter": given.python,
  "oci.endpoint": "",
  // The time limit is for users, who wait: here the machine may be busy.
  "oci.timeLimit": 600,
  // Minutes: the engine, unless it is another's, ends soon after the test.
  "oci.engine.idleUnload": 0.5,
};

const STUB = `def count_vowels(text):
    """Return how many characters of a text are vowels: a, e, i, o or u, small or capital."""
`;
const TEST_VOWELS = `from vowels import count_vowels


def test_small():
    assert count_vowels("education") == 5


def test_capital():
    assert count_vowels("ORANGE juice") == 6


def test_none():
    assert count_vowels("rhythm") == 0
    assert count_vowels("") == 0
`;

const STACK = `class Stack:
    """Values, of which the last one that came is the first to go."""

    def __init__(self):
        self._values = []

    def push(self, value):
        """Put a value on top."""
        self._values.append(value)

    def pop(self):
        """Take the value from the top and return it."""
        return self._values.pop(0)

    def __len__(self):
        return len(self._values)
`;
const TEST_STACK = `from stack import Stack


def test_last_in_first_out():
    stack = Stack()
    stack.push("a")
    stack.push("b")
    assert stack.pop() == "b"
    assert stack.pop() == "a"


def test_length():
    stack = Stack()
    stack.push("a")
    assert len(stack) == 1
`;

// In the user's home, where the model is.
suite({ settings, environment: {} }, (browserTest) => {
  browserTest("the default model writes a function from its docstring, to a verified proposal", async (fixture) => {
    const { project, model, open, read } = fixture;
    writeFileSync(join(project, "vowels.py"), STUB);
    writeFileSync(join(project, "test_vowels.py"), TEST_VOWELS);
    const window = await open("vowels.py", 1);
    await window.serverRuns();
    await window.codeAction("Generate with OCI");
    await window.proposal.waitFor({ timeout: LONG });
    await window.lens("OCI verified: 3 of 3 tests pass").waitFor();
    await window.picture("real model, generated");
    assert.equal(read("vowels.py"), STUB, "nothing is applied before it is accepted");
    await window.chooseLens("Accept", window.proposal, "hidden");
    await window.save("vowels.py", () => read("vowels.py").startsWith(STUB) && read("vowels.py").includes("return "));
    assert.equal(model.asked, 0, "the scripted model has no part in it");
  });

  browserTest("the default model fixes a failing test, and the fix is taken back", async ({ project, open, read }) => {
    writeFileSync(join(project, "stack.py"), STACK);
    writeFileSync(join(project, "test_stack.py"), TEST_STACK);
    const window = await open("test_stack.py", 8);
    await window.serverRuns();
    await window.codeAction("Fix failing test with OCI");
    await window.proposal.waitFor({ timeout: LONG });
    await window.lens("OCI verified: 2 of 2 tests pass").waitFor();
    await window.picture("real model, fixed");
    const receipt = window.page.locator(".monaco-dialog-box", { hasText: "1 of 2 passed before → 2 of 2 pass now" });
    await window.chooseLens("OCI verified", receipt);
    await window.picture("real model, receipt");
    await window.clickUntil(receipt.locator(".monaco-button").first(), receipt, "hidden");
    await window.chooseLens("Accept", window.proposal, "hidden");
    await window.save("stack.py", () => read("stack.py") === STACK.replace("pop(0)", "pop()"));
    await window.undo("stack.py");
    await window.save("stack.py", () => read("stack.py") === STACK);
  });
});
