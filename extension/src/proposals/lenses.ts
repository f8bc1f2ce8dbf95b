import * as vscode from "vscode";
import { SCHEME, tokenOf } from "./document";
import type { ProposalStore } from "./store";

/** Shows what can be done with a proposal, and what was proven, above its first change. */
export class ProposalLenses implements vscode.CodeLensProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChangeCodeLenses = this.changed.event;
  private readonly subscriptions: vscode.Disposable;

  constructor(private readonly store: ProposalStore) {
    this.subscriptions = vscode.Disposable.from(
      this.changed,
      vscode.languages.registerCodeLensProvider({ scheme: SCHEME }, this),
      store.onDidChange(() => {
        this.changed.fire();
      }),
    );
  }

  provideCodeLenses(document: vscode.TextDocument): vscode.CodeLens[] {
    const proposal = this.store.get(tokenOf(document.uri) ?? "");
    if (!proposal) {
      return [];
    }
    const place = new vscode.Range(proposal.line, 0, proposal.line, 0);
    const lens = (title: string, command: string): vscode.CodeLens =>
      new vscode.CodeLens(place, { title, command, arguments: [proposal.token] });
    const discard = lens(vscode.l10n.t("Discard"), "oci.proposals.discard");
    if (proposal.problem) {
      // In short: half a window is narrow, and a lens does not wrap. The receipt has the reason.
      return [discard, lens(vscode.l10n.t("Does not fit the file any more: why?"), "oci.proposals.showReceipt")];
    }
    return [
      lens(vscode.l10n.t("Accept"), "oci.proposals.accept"),
      discard,
      lens(proposal.label, "oci.proposals.showReceipt"),
    ];
  }

  dispose(): void {
    this.subscriptions.dispose();
  }
}
