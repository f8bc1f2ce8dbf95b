import * as vscode from "vscode";
import { Client } from "./client";
import { showMenu } from "./menu";
import { registerProposals } from "./proposals";
import { registerRequests } from "./requests";
import { Setup } from "./setup";
import { State } from "./state";
import { createStatusBar, followActivity } from "./statusBar";
import { registerTestItems } from "./testItems";
import { registerWatching } from "./watching";

export function activate(context: vscode.ExtensionContext): void {
  const state = new State();
  const setup = new Setup(context);
  const client = new Client(context, state, () => setup.serverCommand());
  const restart = (): Promise<void> => client.start();
  context.subscriptions.push(
    state,
    client,
    createStatusBar(state),
    followActivity(client, state),
    registerRequests(client, state),
    registerTestItems(client, state),
    registerProposals(client),
    registerWatching(client, state),
    setup.register(client),
    vscode.commands.registerCommand("oci.restartServer", restart),
    vscode.commands.registerCommand("oci.showMenu", showMenu),
    vscode.commands.registerCommand("oci.showLog", () => {
      client.log.show();
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(restart),
    vscode.workspace.onDidChangeConfiguration((change) => {
      // The editor tells of this, too, when all settings of a workspace begin to count because it is trusted.
      if (change.affectsConfiguration("oci.server")) {
        void client.startIfOther();
      }
    }),
  );
  void client.start().then(() => setup.begin());
}
