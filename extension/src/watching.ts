import * as vscode from "vscode";
import type { Client } from "./client";
import type { State } from "./state";
import { StreamedDocument } from "./streamed";

/** Shows what the model writes, as it is written, in a read-only document beside the code. */
export function registerWatching(client: Client, state: State): vscode.Disposable {
  const reply = new StreamedDocument(
    "oci-reply",
    "OCI reply.md",
    vscode.l10n.t("Nothing has been asked yet. What the model writes shows here, as it is written."),
  );
  client.onNotification("oci/reply", ({ text, begins }) => {
    reply.text = begins ? text : reply.text + text;
  });
  return vscode.Disposable.from(
    reply,
    subscribeWhileShown(client, state, reply),
    vscode.commands.registerCommand("oci.watchReply", () => reply.show()),
  );
}

/** Lets the server send what the model writes while the document is open, and only then. */
function subscribeWhileShown(client: Client, state: State, reply: StreamedDocument): vscode.Disposable {
  let isSent = false;
  const update = (): void => {
    if (state.server.kind !== "running" || !vscode.workspace.isTrusted) {
      isSent = false;
      return;
    }
    const watching = reply.tabs.length > 0;
    if (watching !== isSent) {
      isSent = watching;
      void client.watch(watching);
    }
  };
  return vscode.Disposable.from(state.onDidChange(update), vscode.window.tabGroups.onDidChangeTabs(update));
}
