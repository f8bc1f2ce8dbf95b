import * as vscode from "vscode";

/** Where the tests' sandbox is: of a remote window, of that machine, which is where this runs. */
export const HAS_SANDBOX = process.platform === "linux";

/** Why nothing is set up on another system, and where it would be. */
export function needsLinux(): string {
  return vscode.l10n.t("OCI needs Linux: open this folder in WSL, in a dev container or over SSH.");
}
