/** What every browser test starts from: a project with a bug that a test shows, a scripted model, a window. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium, type Browser } from "playwright-core";
import { CodeServer, given, install } from "./codeServer.ts";
import { CALC, TEST_CALC } from "./project.ts";
import { fenced, ScriptedModel } from "./scriptedModel.ts";
import { runInHost } from "./host.ts";
import { Workbench } from "./workbench.ts";

export const RIGHT = fenced("def add(a, b):\n    return a + b");
export const WRONG = fenced("def add(a, b):\n    return a * b");
/** Pytest plugins that this project's environment has and the example does not need. */
const UNNEEDED = ["hypothesispytest", "asyncio", "pytest-lsp", "anyio"].flatMap((name) => ["-p", `no:${name}`]);

export interface Fixture {
  readonly model: ScriptedModel;
  readonly server: CodeServer;
  /** The folder of the extensions that are installed. */
  readonly extensions: string;
  /** Where our extension keeps what is its own. */
  readonly storage: string;
  /** The open project's folder. */
  readonly project: string;
  /** Opens the project; `line` is where the cursor is. */
  readonly open: (file: string, line?: number) => Promise<Workbench>;
  /** Reports a part of the test under a name of its own. */
  readonly subtest: (name: string, body: () => void) => Promise<void>;
  /** Runs a bundle in the extension host of a window with the project, and hands on the lines of its console. */
  readonly runInHost: (bundle: string, onLine: (line: string) => void) => Promise<void>;
  /** A file's text on disk. */
  readonly read: (file: string) => string;
}

interface Options {
  readonly asksForTrust?: boolean;
  /** Instead of those that say which Python the server runs on, and which one the tests. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** A package that is installed into extensions of their own, instead of ours as it is now into those of all tests. */
  readonly package?: string;
  /** Beside this process's own environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** The folder of an extension that is loaded beside ours. */
  readonly extension?: string;
}

/** Defines tests that share a VS Code, each with a window and a project of its own. */
export function suite(options: Options, define: (browserTest: BrowserTest) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "oci-e2e-"));
  const extensions = options.package ? join(folder, "extensions") : given.extensions;
  let model: ScriptedModel;
  let server: CodeServer;
  let browser: Browser;
  let count = 0;

  before(async () => {
    model = await ScriptedModel.start();
    const settings = {
      "oci.endpoint": model.url,
      // The scripted replies come one a round; a real model has the default.
      ...(options.settings?.["oci.endpoint"] === "" ? {} : { "oci.candidates": 1 }),
      "oci.testArgs": UNNEEDED,
      ...(options.settings ?? { "oci.server.python": given.python, "oci.interpreter": given.python }),
    };
    // A home of its own, so that the user's has no proposals of ours.
    const { asksForTrust = false, extension, environment = { OCI_COMPANION_HOME: join(folder, "home") } } = options;
    if (options.package) {
      await install(options.package, extensions);
    }
    const loadsExtensions = extension !== undefined;
    server = await CodeServer.start({ folder, settings, asksForTrust, loadsExtensions, extensions, environment });
    browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox", "--disable-gpu"] });
  });
  after(async () => {
    await browser.close();
    await server.stop();
    model.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  define((name, body) => {
    void test(name, async (context) => {
      const project = join(folder, `project-${(count += 1)}`);
      mkdirSync(project);
      writeFileSync(join(project, "calc.py"), CALC);
      writeFileSync(join(project, "test_calc.py"), TEST_CALC);
      model.script([RIGHT]);
      const opened: Workbench[] = [];
      const fixture: Fixture = {
        model,
        server,
        extensions,
        storage: join(folder, "user", "User", "globalStorage", "oci-companion.oci-companion"),
        project,
        open: async (file, line) => {
          const workbench = await Workbench.open(browser, server, project, file, line, options.extension);
          opened.push(workbench);
          return workbench;
        },
        subtest: (title, part) => context.test(title, part),
        runInHost: (bundle, onLine) => runInHost(browser, server, project, { extension: options.extension ?? "", bundle }, onLine),
        read: (file) => readFileSync(join(project, file), "utf8"),
      };
      try {
        await body(fixture);
      } catch (error) {
        await Promise.all(opened.map((workbench) => workbench.failed(name)));
        throw error;
      } finally {
        await Promise.all(opened.map((workbench) => workbench.close()));
      }
    });
  });
}

type BrowserTest = (name: string, body: (fixture: Fixture) => Promise<void>) => void;
