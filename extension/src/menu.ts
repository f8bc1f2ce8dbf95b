import * as vscode from "vscode";

interface Entry extends vscode.QuickPickItem {
  readonly command?: string;
  readonly argument?: string;
}

/** Shows what the status bar item leads to. */
export async function showMenu(): Promise<void> {
  const entries: Entry[] = [
    { label: vscode.l10n.t("$(sparkle) Generate with OCI…"), command: "oci.generateWithInstruction" },
    { label: vscode.l10n.t("$(wrench) Fix with OCI"), command: "oci.fixHere" },
    { label: vscode.l10n.t("$(eye) Watch the Model's Reply"), command: "oci.watchReply" },
    { label: "", kind: vscode.QuickPickItemKind.Separator },
    { label: vscode.l10n.t("$(chip) Select Model"), command: "oci.selectModel" },
    { label: vscode.l10n.t("$(pulse) Doctor: what is missing on this machine?"), command: "oci.doctor" },
    { label: vscode.l10n.t("$(output) Show Log"), command: "oci.showLog" },
    { label: vscode.l10n.t("$(debug-restart) Restart Server"), command: "oci.restartServer" },
    { label: vscode.l10n.t("$(gear) Settings"), command: "workbench.action.openSettings", argument: "oci." },
  ];
  const picked = await vscode.window.showQuickPick(entries, { title: "OCI Companion" });
  if (picked?.command) {
    await vscode.commands.executeCommand(picked.command, ...(picked.argument ? [picked.argument] : []));
  }
}
