import { access, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import * as path from "node:path";
import type * as vscode from "vscode";
import { runProgram } from "./process";
import { findPython } from "./python";

const PREFIX = "server-";

/** The Python environment that the server runs in: its own, one for each version of the extension. */
export class Environment {
  private readonly storage: string;
  readonly folder: string;
  /** Written last: an environment without it was not finished. */
  private readonly marker: string;

  constructor(private readonly context: vscode.ExtensionContext) {
    const { version } = context.extension.packageJSON as { version: string };
    this.storage = context.globalStorageUri.fsPath;
    this.folder = path.join(this.storage, PREFIX + version);
    this.marker = path.join(this.folder, "complete");
  }

  get python(): string {
    return path.join(this.folder, "bin", "python");
  }

  async isComplete(): Promise<boolean> {
    return access(this.marker).then(
      () => true,
      () => false,
    );
  }

  /** Whether an earlier version of the extension had one: then the user has agreed to have it. */
  async hasPredecessor(): Promise<boolean> {
    return (await this.others()).length > 0;
  }

  /**
   * Makes the environment anew and installs the server that comes with the extension.
   *
   * @param report is told what is being done.
   * @throws NoPython, ProgramFailed, Cancelled.
   */
  async make(report: (message: string) => void, cancellation: vscode.CancellationToken): Promise<void> {
    await mkdir(this.storage, { recursive: true });
    const base = await findPython(this.storage);
    await rm(this.folder, { recursive: true, force: true });
    try {
      await this.fill(base, report, cancellation);
    } catch (error) {
      // What is half-made is of no use, and a later version would take it for one that the user wanted.
      await rm(this.folder, { recursive: true, force: true });
      throw error;
    }
    for (const folder of await this.others()) {
      await rm(folder, { recursive: true, force: true });
    }
  }

  private async fill(
    base: string,
    report: (message: string) => void,
    cancellation: vscode.CancellationToken,
  ): Promise<void> {
    const options = { cwd: this.storage, cancellation };
    await runProgram({ command: base, args: ["-I", "-m", "venv", this.folder] }, options);
    // With what the bundled example's tests need.
    const server = `${this.context.extensionPath}[demo]`;
    const pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
    const onLine = (line: string): void => {
      const step = /^(?:Collecting|Downloading|Building|Installing)\b[^(]*/.exec(line.trim())?.[0];
      if (step) {
        report(step.slice(0, 60));
      }
    };
    await runProgram({ command: this.python, args: [...pip, server] }, { ...options, onLine });
    await writeFile(this.marker, "");
  }

  private async others(): Promise<string[]> {
    const names = await readdir(this.storage).catch(() => []);
    const all = names.filter((name) => name.startsWith(PREFIX)).map((name) => path.join(this.storage, name));
    return all.filter((folder) => folder !== this.folder);
  }
}
