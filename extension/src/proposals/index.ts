import * as vscode from "vscode";
import type { Client } from "../client";
import { registerProposalCommands } from "./commands";
import { closeDiffs, openDiff } from "./diff";
import { ProposalDocuments } from "./document";
import { Explanation } from "./explanation";
import { ProposalLenses } from "./lenses";
import { refitWhileEditing } from "./refit";
import { ProposalStore } from "./store";
import { ProposalView } from "./view";

/** Shows what the server proposes, and carries the user's decision back. */
export function registerProposals(client: Client): vscode.Disposable {
  const store = new ProposalStore();
  const explanation = new Explanation(client);
  client.onNotification("oci/proposal", async (proposal) => {
    store.put(proposal);
    // What waited when the window was closed is in the list; it does not push itself before what is opened now.
    if (!proposal.restored) {
      await openDiff(proposal);
    }
  });
  client.onNotification("oci/proposalClosed", ({ token }) => {
    store.remove(token);
  });
  return vscode.Disposable.from(
    store,
    explanation,
    new ProposalDocuments(store),
    new ProposalLenses(store),
    new ProposalView(store),
    closeDiffs(store),
    refitWhileEditing(client, store),
    registerProposalCommands(client, store, explanation),
    // The server that takes its place gives those of the opened folders again.
    client.onDidEnd(() => {
      store.clear();
    }),
  );
}
