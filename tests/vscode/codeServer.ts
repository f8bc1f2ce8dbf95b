/** VS Code as code-server: a process of its own with its own user data, and nothing of it left at the end. */

import { execFile, spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { until } from "./until.ts";

/** What a run of the tests is given by `python -m tests.vscode`. */
export const given = {
  codeServer: fromEnvironment("OCI_E2E_CODE_SERVER"),
  chromium: fromEnvironment("OCI_E2E_CHROMIUM"),
  extensions: fromEnvironment("OCI_E2E_EXTENSIONS"),
  package: fromEnvironment("OCI_E2E_PACKAGE"),
  olderPackage: fromEnvironment("OCI_E2E_OLDER_PACKAGE"),
  python: fromEnvironment("OCI_E2E_PYTHON"),
  artefacts: fromEnvironment("OCI_E2E_ARTEFACTS"),
};

/** Nothing that moves, asks or calls home. */
const QUIET = {
  "chat.disableAIFeatures": true,
  "editor.acceptSuggestionOnEnter": "off",
  "editor.cursorBlinking": "solid",
  "editor.minimap.enabled": false,
  "extensions.autoCheckUpdates": false,
  "extensions.autoUpdate": false,
  "extensions.ignoreRecommendations": true,
  "files.autoSave": "off",
  "files.hotExit": "off",
  "git.enabled": false,
  "telemetry.telemetryLevel": "off",
  "update.mode": "none",
  "workbench.enableExperiments": false,
  "workbench.reduceMotion": "on",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
  "workbench.welcomePage.walkthroughs.openOnInstall": false,
};

const OFFLINE = { EXTENSIONS_GALLERY: "{}" };

/** Installs a package as a user does by hand: into this folder for extensions, where it takes an earlier one's place. */
export async function install(file: string, extensions: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "oci-install-"));
  const configuration = join(folder, "config.yaml");
  writeFileSync(configuration, "auth: none\n");
  const where = ["--config", configuration, "--user-data-dir", folder, "--extensions-dir", extensions];
  await promisify(execFile)(process.execPath, [given.codeServer, ...where, "--install-extension", file, "--force"], {
    env: { ...process.env, ...OFFLINE },
  });
  rmSync(folder, { recursive: true });
}

interface Options {
  /** A folder for what it writes. */
  readonly folder: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Whether folders are trusted only when the user says so. */
  readonly asksForTrust: boolean;
  /** The folder of the extensions that are installed. */
  readonly extensions: string;
  /** Beside this process's own environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Whether a window may name an extension's folder to be loaded. */
  readonly loadsExtensions: boolean;
}

export class CodeServer {
  readonly url: string;
  private readonly child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.child = child;
  }

  static async start(options: Options): Promise<CodeServer> {
    const { folder, settings, asksForTrust, loadsExtensions, extensions, environment } = options;
    const user = join(folder, "user");
    // Settings of scope `machine` count in the machine's file only: here the window is always a remote one.
    for (const [name, values] of Object.entries({ User: { ...QUIET, ...settings }, Machine: settings })) {
      mkdirSync(join(user, name), { recursive: true });
      writeFileSync(join(user, name, "settings.json"), JSON.stringify(values));
    }
    const configuration = join(folder, "config.yaml");
    writeFileSync(configuration, "auth: none\n");
    const port = await freePort();
    const log = openSync(join(folder, "code-server.log"), "w");
    const child = spawn(
      process.execPath,
      [
        given.codeServer,
        ...["--auth", "none", "--bind-addr", `127.0.0.1:${port}`, "--config", configuration],
        ...["--user-data-dir", user, "--extensions-dir", extensions],
        ...["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override", "--disable-proxy"],
        // Else extension hosts and language servers outlive their page by hours.
        ...["--reconnection-grace-time", "1"],
        ...(asksForTrust ? [] : ["--disable-workspace-trust"]),
        ...(loadsExtensions ? ["--vscode-option", "enable-smoke-test-driver"] : []),
      ],
      { detached: true, stdio: ["ignore", log, log], env: { ...process.env, ...OFFLINE, ...environment } },
    );
    closeSync(log);
    const server = new CodeServer(`http://127.0.0.1:${port}`, child);
    process.once("exit", server.kill);
    await until("code-server to answer", async () => {
      if (child.exitCode !== null) {
        throw new Error(`code-server ended with status ${child.exitCode}; see ${join(folder, "code-server.log")}`);
      }
      return (await fetch(`${server.url}/healthz`)).ok;
    });
    return server;
  }

  /** Returns what a window calls a file. */
  uri(file: string): string {
    return `vscode-remote://${new URL(this.url).host}${file}`;
  }

  /** Returns the address of a window with a folder. */
  address(folder: string, payload: Readonly<Record<string, string>>): string {
    const query = new URLSearchParams({ folder, payload: JSON.stringify(Object.entries(payload)) });
    return `${this.url}/?${query.toString()}`;
  }

  /** Ends it with all its processes. */
  async stop(): Promise<void> {
    this.signal("SIGTERM");
    for (let tries = 0; tries < 50 && this.signal(0); tries++) {
      await sleep(100);
    }
    this.kill();
    process.off("exit", this.kill);
  }

  /** Signals the language server of an open window: SIGKILL ends it as running out of memory would, SIGSTOP hangs it. */
  signalLanguageServer(signal: NodeJS.Signals): void {
    for (const name of readdirSync("/proc").filter((each) => /^\d+$/.test(each))) {
      if (this.isLanguageServer(name)) {
        process.kill(Number(name), signal);
      }
    }
  }

  /** Whether a process is one that our code-server has started to be a language server. */
  private isLanguageServer(id: string): boolean {
    try {
      const state = readFileSync(`/proc/${id}/stat`, "utf8");
      const [, , group] = state.slice(state.lastIndexOf(")") + 2).split(" ");
      const words = readFileSync(`/proc/${id}/cmdline`, "utf8").split("\0");
      return Number(group) === this.child.pid && words.includes("lsp_server.cli") && words.includes("lsp");
    } catch {
      return false; // it has ended meanwhile
    }
  }

  private readonly kill = (): void => {
    this.signal("SIGKILL");
  };

  private signal(signal: NodeJS.Signals | 0): boolean {
    try {
      return this.child.pid !== undefined && process.kill(-this.child.pid, signal);
    } catch {
      return false; // it has ended
    }
  }
}

function fromEnvironment(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: these tests are run by \`python -m tests.vscode\``);
  }
  return value;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => {
    probe.listen(0, "127.0.0.1", resolve);
  });
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
