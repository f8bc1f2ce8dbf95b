import * as vscode from "vscode";
import type { Client } from "./client";
import type { State, Work } from "./state";

/** Keeps a status bar item that says what the companion is doing and opens its menu. */
export function createStatusBar(state: State): vscode.Disposable {
  const item = vscode.window.createStatusBarItem("oci.status", vscode.StatusBarAlignment.Right, 100);
  item.name = "OCI Companion";
  item.command = "oci.showMenu";
  const update = (): void => {
    const { text, tooltip, isProblem = false } = describe(state);
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

/** Keeps the state's requests at the phase that the server tells. */
export function followActivity(client: Client, state: State): vscode.Disposable {
  client.onNotification("oci/activity", (activity) => {
    state.setActivity(activity);
  });
  return vscode.workspace.onDidChangeConfiguration((change) => {
    if (change.affectsConfiguration("oci.model") || change.affectsConfiguration("oci.endpoint")) {
      state.forgetEngine();
    }
  });
}

interface Description {
  readonly text: string;
  readonly tooltip: string;
  readonly isProblem?: boolean;
}

function describe(state: State): Description {
  const { server, works } = state;
  if (server.kind === "starting") {
    return { text: vscode.l10n.t("$(loading~spin) OCI: starting"), tooltip: vscode.l10n.t("OCI is starting") };
  }
  if (server.kind !== "running") {
    const tooltip = vscode.l10n.t("OCI is off. {0}", server.why);
    return { text: vscode.l10n.t("$(circle-slash) OCI: off"), tooltip, isProblem: true };
  }
  if (!vscode.workspace.isTrusted) {
    const tooltip = vscode.l10n.t("OCI waits for trust: it runs nothing in a workspace that is not trusted");
    return { text: "$(shield) OCI", tooltip };
  }
  const [work] = works;
  if (work) {
    const lines = works.map(({ title, message }) => `${title}: ${message}`);
    return { text: phase(work), tooltip: [...lines, modelLine(state)].join("\n") };
  }
  return { text: "$(sparkle) OCI", tooltip: vscode.l10n.t("OCI is ready. {0}", modelLine(state)) };
}

function phase({ activity }: Work): string {
  switch (activity?.phase) {
    case "loading":
      return vscode.l10n.t("$(loading~spin) OCI: loading the model");
    case "generating":
      return vscode.l10n.t("$(loading~spin) OCI: generating");
    case "testing":
      return vscode.l10n.t("$(loading~spin) OCI: testing");
    default:
      return vscode.l10n.t("$(loading~spin) OCI: working");
  }
}

function modelLine({ engine }: State): string {
  const settings = vscode.workspace.getConfiguration("oci");
  const named = [engine?.model, settings.get<string>("model")].find((name) => name);
  const name = named ?? vscode.l10n.t("the default");
  const endpoint = settings.get<string>("endpoint", "");
  if (endpoint) {
    return vscode.l10n.t("Model: {0}, at {1}", name, endpoint);
  }
  return engine?.device
    ? vscode.l10n.t("Model: {0}, on {1}", name, engine.device.toUpperCase())
    : vscode.l10n.t("Model: {0}", name);
}
