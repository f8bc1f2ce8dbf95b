import * as vscode from "vscode";
import type { Client } from "../client";
import type { WaitingProposal } from "../messages";
import type { ProposalStore } from "./store";

/** Milliseconds without typing after which a proposal is fitted to its file anew. */
const PAUSE = 300;

/** Keeps what is shown of proposals true while the user edits their files. */
export function refitWhileEditing(client: Client, store: ProposalStore): vscode.Disposable {
  const due = new Map<string, NodeJS.Timeout>();
  const refit = async (token: string): Promise<void> => {
    due.delete(token);
    const fitted = await client.execute<WaitingProposal | null>("oci.fitProposal", { token });
    // It may have been decided upon while the server answered.
    if (fitted && store.get(token)) {
      store.put(fitted);
    }
  };
  const edited = vscode.workspace.onDidChangeTextDocument(({ document }) => {
    for (const { token, uri } of store.all) {
      if (uri === document.uri.toString()) {
        clearTimeout(due.get(token));
        due.set(token, setTimeout(() => void refit(token), PAUSE));
      }
    }
  });
  return vscode.Disposable.from(edited, {
    dispose: () => {
      due.forEach((timer) => {
        clearTimeout(timer);
      });
    },
  });
}
