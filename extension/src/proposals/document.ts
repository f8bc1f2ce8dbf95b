import * as vscode from "vscode";
import type { WaitingProposal } from "../messages";
import type { ProposalStore } from "./store";

export const SCHEME = "oci-proposal";

/** Returns the address of the read-only document that shows a file with the proposal. */
export function documentOf(proposal: WaitingProposal): vscode.Uri {
  const file = vscode.Uri.parse(proposal.uri, true);
  // The file's own path, so that the editor takes it for Python and names it as the file.
  return vscode.Uri.from({ scheme: SCHEME, path: file.path, query: proposal.token });
}

/** Returns the token of the proposal that a document shows. */
export function tokenOf(document: vscode.Uri): string | undefined {
  return document.scheme === SCHEME ? document.query : undefined;
}

/** Gives the editor the documents' texts. */
export class ProposalDocuments implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changed.event;
  private readonly subscriptions: vscode.Disposable;

  constructor(private readonly store: ProposalStore) {
    this.subscriptions = vscode.Disposable.from(
      this.changed,
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      store.onDidChange((proposal) => {
        this.changed.fire(documentOf(proposal));
      }),
    );
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.store.get(uri.query)?.text ?? "";
  }

  dispose(): void {
    this.subscriptions.dispose();
  }
}
