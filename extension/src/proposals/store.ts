import * as vscode from "vscode";
import type { WaitingProposal } from "../messages";

/** The proposals that wait to be accepted or discarded, the latest last. */
export class ProposalStore implements vscode.Disposable {
  private readonly waiting = new Map<string, WaitingProposal>();
  private readonly changed = new vscode.EventEmitter<WaitingProposal>();
  private readonly removed = new vscode.EventEmitter<WaitingProposal>();
  /** A proposal has come, or fits its file differently than before. */
  readonly onDidChange = this.changed.event;
  readonly onDidRemove = this.removed.event;

  get all(): readonly WaitingProposal[] {
    return [...this.waiting.values()];
  }

  get(token: string): WaitingProposal | undefined {
    return this.waiting.get(token);
  }

  put(proposal: WaitingProposal): void {
    this.waiting.set(proposal.token, proposal);
    this.tell();
    this.changed.fire(proposal);
  }

  remove(token: string): void {
    const proposal = this.waiting.get(token);
    if (proposal) {
      this.waiting.delete(token);
      this.tell();
      this.removed.fire(proposal);
    }
  }

  clear(): void {
    for (const { token } of this.all) {
      this.remove(token);
    }
  }

  dispose(): void {
    this.changed.dispose();
    this.removed.dispose();
  }

  private tell(): void {
    // The view with the waiting proposals is there only while there are any.
    void vscode.commands.executeCommand("setContext", "oci.proposalsWait", this.waiting.size > 0);
  }
}
