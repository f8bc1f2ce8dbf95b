import { spawn } from "node:child_process";
import type * as vscode from "vscode";
import type { Program } from "../companion";

/** How many of its last lines are kept to say why a program failed. */
const KEPT_LINES = 15;

/** A program ended with an error. */
export class ProgramFailed extends Error {
  constructor(
    readonly command: string,
    /** The last lines that it wrote. */
    readonly output: string,
  ) {
    super(`${command}: ${output}`);
  }
}

/** The user has stopped a program. */
export class Cancelled extends Error {}

interface Options {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Told each line of standard output and standard error. */
  readonly onLine?: (line: string) => void;
  readonly cancellation?: vscode.CancellationToken;
}

/**
 * Runs a program to its end and returns its standard output.
 *
 * @throws ProgramFailed if it cannot be started or ends with another status than 0, Cancelled if the user stopped it.
 */
export async function runProgram(program: Program, options: Options): Promise<string> {
  const { cwd, env, onLine, cancellation } = options;
  // In a process group of its own: pip and venv have children, which are to end with them.
  const child = spawn(program.command, program.args, {
    cwd,
    env: { ...process.env, ...env },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const kill = cancellation?.onCancellationRequested(() => {
    if (child.pid !== undefined && child.exitCode === null) {
      process.kill(-child.pid, "SIGKILL");
    }
  });
  let output = "";
  const last: string[] = [];
  const listen = (stream: NodeJS.ReadableStream, keep: boolean): void => {
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      output += keep ? text : "";
      // A progress bar overwrites its line with carriage returns.
      const lines = (rest + text).split(/[\r\n]+/);
      rest = lines.pop() ?? "";
      for (const line of lines.filter((each) => each.trim() !== "")) {
        last.push(line);
        onLine?.(line);
      }
      last.splice(0, last.length - KEPT_LINES);
    });
  };
  listen(child.stdout, true);
  listen(child.stderr, false);
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    });
    if (cancellation?.isCancellationRequested) {
      throw new Cancelled();
    }
    if (status !== 0) {
      throw new ProgramFailed(program.command, last.join("\n"));
    }
    return output;
  } catch (error) {
    if (error instanceof ProgramFailed || error instanceof Cancelled) {
      throw error;
    }
    throw new ProgramFailed(program.command, error instanceof Error ? error.message : String(error));
  } finally {
    kill?.dispose();
  }
}
