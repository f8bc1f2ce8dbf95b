import * as vscode from "vscode";
import type { State } from "./state";

/** Keeps a status bar item that says what the companion is doing and opens its menu. */
export function createStatusBar(state: State): vscode.Disposable {
  const item = vscode.window.createStatusBarItem("oci.status", vscode.StatusBarAlignment.Right, 100);
  item.name = "OCI Companion";
  item.command = "oci.showMenu";
  const update = (): void => {
    const { text, tooltip, isProblem } = describe(state);
    item.text = text;
    item.tooltip = tooltip;
    item.accessibilityInformation = { label: tooltip };
    item.backgroundColor = isProblem ? new vscode.ThemeColor("statusBarItem.warningBackground") : undefined;
  };
  update();
  item.show();
  return vscode.Disposable.from(
    item,
    state.onDidChange(update),
    vscode.workspace.onDidGrantWorkspaceTrust(update),
    vscode.workspace.onDidChangeConfiguration(update),
  );
}

function describe(state: State): { text: string; tooltip: string; isProblem: boolean } {
  const { server, works } = state;
  if (server.kind === "starting") {
    return { text: "$(loading~spin) OCI", tooltip: vscode.l10n.t("OCI is starting"), isProblem: false };
  }
  if (server.kind !== "running") {
    return { text: "$(circle-slash) OCI", tooltip: vscode.l10n.t("OCI is off. {0}", server.why), isProblem: true };
  }
  if (!vscode.workspace.isTrusted) {
    const tooltip = vscode.l10n.t("OCI waits for trust: it runs nothing in a workspace that is not trusted");
    return { text: "$(shield) OCI", tooltip, isProblem: false };
  }
  const [work] = works;
  if (work) {
    const tooltip = works.map(({ title, message }) => `${title}: ${message}`).join("\n");
    return { text: "$(loading~spin) OCI", tooltip, isProblem: false };
  }
  return { text: "$(sparkle) OCI", tooltip: vscode.l10n.t("OCI is ready. Model: {0}", model()), isProblem: false };
}

function model(): string {
  const settings = vscode.workspace.getConfiguration("oci");
  const name = settings.get<string>("model", "") || vscode.l10n.t("the default");
  const endpoint = settings.get<string>("endpoint", "");
  return endpoint ? vscode.l10n.t("{0}, at {1}", name, endpoint) : name;
}
