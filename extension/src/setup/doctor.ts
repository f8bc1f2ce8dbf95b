import * as vscode from "vscode";
import { askForTrust } from "../trust";
import type { Companion } from "./model";
import { ProgramFailed, runProgram } from "./process";

/** Shows what is missing on this machine, and what mends it. */
export async function showDoctor(companion: Companion, cwd: string, log: vscode.LogOutputChannel): Promise<void> {
  if (!vscode.workspace.isTrusted) {
    // It asks the workspace's interpreter what it is, which runs it.
    await askForTrust();
    return;
  }
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? cwd;
  const onLine = (line: string): void => {
    log.info(line);
  };
  const show = vscode.l10n.t("Show Log");
  let answer: string | undefined;
  try {
    await runProgram(companion("doctor"), { cwd: folder, onLine });
    answer = await vscode.window.showInformationMessage(vscode.l10n.t("OCI has all it needs on this machine."), show);
  } catch (error) {
    if (!(error instanceof ProgramFailed)) {
      throw error;
    }
    const lack = error.output.split("\n").find((line) => line.startsWith("no ")) ?? error.output;
    const message = vscode.l10n.t("Something is missing: {0}. The log says what mends it.", lack.replace("no ", "").trim());
    answer = await vscode.window.showWarningMessage(message, show);
  }
  if (answer === show) {
    log.show();
  }
}
