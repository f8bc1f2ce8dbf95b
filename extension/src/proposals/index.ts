import * as vscode from "vscode";
import type { Client } from "../client";
import { registerProposalCommands } from "./commands";
import { closeDiffs, openDiff } from "./diff";
import { ProposalDocuments } from "./document";
import { ProposalLenses } from "./lenses";
import { refitWhileEditing } from "./refit";
import { ProposalStore } from "./store";
import { ProposalView } from "./view";

/** Shows what the server proposes, and carries the user's decision back. */
export function registerProposals(client: Client): vscode.Disposable {
  const store = new ProposalStore();
  client.onNotification("oci/proposal", async (proposal) => {
    store.put(proposal);
    await openDiff(proposal);
  });
  client.onNotification("oci/proposalClosed", ({ token }) => {
    store.remove(token);
  });
  return vscode.Disposable.from(
    store,
    new ProposalDocuments(store),
    new ProposalLenses(store),
    new ProposalView(store),
    closeDiffs(store),
    refitWhileEditing(client, store),
    registerProposalCommands(client, store),
    // What the server that has ended knew of them is gone.
    client.onDidEnd(() => {
      store.clear();
    }),
  );
}
