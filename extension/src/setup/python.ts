import * as vscode from "vscode";
import { ProgramFailed, runProgram } from "./process";

/** Newest first, of those that the server's packages have wheels for. */
const NAMES = ["python3.13", "python3.12", "python3.11", "python3", "python"];
const LEAST = [3, 11] as const;
/** Debian's and Ubuntu's Python comes without what makes environments. */
const LOOK = "import sys, venv, ensurepip; print(*sys.version_info[:2])";

/** No Python here can have the environment; the message says what to do. */
export class NoPython extends Error {}

/**
 * Returns a Python that an environment can be made with.
 *
 * @throws NoPython if there is none.
 */
export async function findPython(cwd: string): Promise<string> {
  const chosen = vscode.workspace.getConfiguration("oci").get<string>("server.basePython", "");
  let without = "";
  for (const name of chosen ? [chosen] : NAMES) {
    try {
      const [major = 0, minor = 0] = (await runProgram({ command: name, args: ["-I", "-c", LOOK] }, { cwd }))
        .split(" ")
        .map(Number);
      if (major > LEAST[0] || (major === LEAST[0] && minor >= LEAST[1])) {
        return name;
      }
    } catch (error) {
      if (!(error instanceof ProgramFailed)) {
        throw error;
      }
      if (/No module named '(venv|ensurepip)'/.test(error.output)) {
        without ||= name;
      }
    }
  }
  if (without) {
    throw new NoPython(
      vscode.l10n.t("{0} cannot make environments. Install what it lacks: sudo apt install python3-venv", without),
    );
  }
  throw new NoPython(
    chosen
      ? vscode.l10n.t("{0}, set as oci.server.basePython, is not Python 3.11 or later.", chosen)
      : vscode.l10n.t("Python 3.11 or later was not found. Install it, or set oci.server.basePython to where it is."),
  );
}
