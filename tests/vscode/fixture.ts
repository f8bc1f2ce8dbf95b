/** What every browser test starts from: a project with a bug that a test shows, a scripted model, a window. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium, type Browser } from "playwright-core";
import { CodeServer, given } from "./codeServer.ts";
import { fenced, ScriptedModel } from "./scriptedModel.ts";
import { Workbench } from "./workbench.ts";

export const CALC = `def add(a, b):
    return a - b


def double(a):
    return 2 * a
`;
export const FIXED = CALC.replace("a - b", "a + b");
const TEST_CALC = `from calc import add, double


def test_add():
    assert add(2, 3) == 5


def test_double():
    assert double(4) == 8
`;
export const RIGHT = fenced("def add(a, b):\n    return a + b");
export const WRONG = fenced("def add(a, b):\n    return a * b");
/** Pytest plugins that this project's environment has and the example does not need. */
const UNNEEDED = ["hypothesispytest", "asyncio", "pytest-lsp", "anyio"].flatMap((name) => ["-p", `no:${name}`]);

export interface Fixture {
  readonly model: ScriptedModel;
  readonly server: CodeServer;
  /** The open project's folder. */
  readonly project: string;
  /** Opens the project; `line` is where the cursor is. */
  readonly open: (file: string, line?: number) => Promise<Workbench>;
  /** A file's text on disk. */
  readonly read: (file: string) => string;
}

interface Options {
  readonly asksForTrust?: boolean;
  /** Instead of those that say which Python the server runs on, and which one the tests. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

/** Defines tests that share a VS Code, each with a window and a project of its own. */
export function suite(options: Options, define: (browserTest: BrowserTest) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "oci-e2e-"));
  let model: ScriptedModel;
  let server: CodeServer;
  let browser: Browser;
  let count = 0;

  before(async () => {
    model = await ScriptedModel.start();
    const settings = {
      "oci.endpoint": model.url,
      "oci.testArgs": UNNEEDED,
      ...(options.settings ?? { "oci.server.python": given.python, "oci.interpreter": given.python }),
    };
    server = await CodeServer.start({ folder, settings, asksForTrust: options.asksForTrust ?? false });
    browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox", "--disable-gpu"] });
  });
  after(async () => {
    await browser.close();
    await server.stop();
    model.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  define((name, body) => {
    void test(name, async () => {
      const project = join(folder, `project-${(count += 1)}`);
      mkdirSync(project);
      writeFileSync(join(project, "calc.py"), CALC);
      writeFileSync(join(project, "test_calc.py"), TEST_CALC);
      model.script([RIGHT]);
      const opened: Workbench[] = [];
      const fixture: Fixture = {
        model,
        server,
        project,
        open: async (file, line) => {
          const workbench = await Workbench.open(browser, server, project, file, line);
          opened.push(workbench);
          return workbench;
        },
        read: (file) => readFileSync(join(project, file), "utf8"),
      };
      try {
        await body(fixture);
      } catch (error) {
        await Promise.all(opened.map((workbench) => workbench.picture(`FAILED ${name}`)));
        throw error;
      } finally {
        await Promise.all(opened.map((workbench) => workbench.close()));
      }
    });
  });
}

type BrowserTest = (name: string, body: (fixture: Fixture) => Promise<void>) => void;
