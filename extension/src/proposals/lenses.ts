import * as vscode from "vscode";
import { SCHEME, tokenOf } from "./document";
import type { ProposalStore } from "./store";

/** Milliseconds after which VS Code is told to ask again for the lenses of a proposal that has come into view. */
const REMINDERS = [500, 1500, 4000];

/** Shows what can be done with a proposal, and what was proven, above its first change. */
export class ProposalLenses implements vscode.CodeLensProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChangeCodeLenses = this.changed.event;
  private readonly subscriptions: vscode.Disposable;
  private reminders: NodeJS.Timeout[] = [];

  constructor(private readonly store: ProposalStore) {
    this.subscriptions = vscode.Disposable.from(
      this.changed,
      vscode.languages.registerCodeLensProvider({ scheme: SCHEME }, this),
      store.onDidChange(() => {
        this.changed.fire();
      }),
      vscode.window.onDidChangeVisibleTextEditors((editors) => {
        this.remind(editors.some(({ document }) => document.uri.scheme === SCHEME));
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
    const refine = lens(vscode.l10n.t("Refine…"), "oci.proposals.refine");
    if (proposal.problem) {
      // In short: half a window is narrow, and a lens does not wrap. The receipt has the reason.
      return [discard, lens(vscode.l10n.t("Does not fit the file any more: why?"), "oci.proposals.showReceipt")];
    }
    return [
      lens(vscode.l10n.t("Accept"), "oci.proposals.accept"),
      discard,
      lens(proposal.label, "oci.proposals.showReceipt"),
      // Last: half a window is narrow, and it is in the title bar too.
      refine,
    ];
  }

  dispose(): void {
    this.remind(false);
    this.subscriptions.dispose();
  }

  /**
   * Lets VS Code ask again.
   *
   * It asks once when an editor opens, but not if that loses the focus before it has asked; and what it was told it leaves
   * blank if the editor was not drawn by then.
   */
  private remind(isInView: boolean): void {
    this.reminders.forEach((reminder) => {
      clearTimeout(reminder);
    });
    this.reminders = (isInView ? REMINDERS : []).map((delay) =>
      setTimeout(() => {
        this.changed.fire();
      }, delay),
    );
  }
}
