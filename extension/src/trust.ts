import * as vscode from "vscode";

/** Says that nothing is run here until the user trusts the workspace, and leads to where that is done. */
export async function askForTrust(): Promise<void> {
  const manage = vscode.l10n.t("Manage Workspace Trust");
  const message = vscode.l10n.t(
    "OCI runs your code's tests to check what it proposes. This workspace is not trusted, so nothing is run.",
  );
  if ((await vscode.window.showWarningMessage(message, manage)) === manage) {
    await vscode.commands.executeCommand("workbench.trust.manage");
  }
}
