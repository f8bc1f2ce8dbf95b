import * as vscode from "vscode";
import type { WaitingProposal } from "../messages";
import type { ProposalStore } from "./store";

/** A line of a proposal's receipt, below the proposal. */
interface ReceiptLine {
  readonly text: string;
}
type Row = WaitingProposal | ReceiptLine;

/** Lists the proposals that wait, each with its receipt. */
export class ProposalView implements vscode.TreeDataProvider<Row>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly subscriptions: vscode.Disposable;

  constructor(private readonly store: ProposalStore) {
    const view = vscode.window.createTreeView<Row>("oci.proposals", { treeDataProvider: this });
    const update = (): void => {
      this.changed.fire();
      const count = store.all.length;
      const tooltip = count === 1 ? vscode.l10n.t("1 proposal waits") : vscode.l10n.t("{0} proposals wait", count);
      view.badge = count > 0 ? { value: count, tooltip } : undefined;
    };
    this.subscriptions = vscode.Disposable.from(
      this.changed,
      view,
      store.onDidChange(update),
      store.onDidRemove(update),
    );
  }

  getTreeItem(row: Row): vscode.TreeItem {
    if (!isProposal(row)) {
      return receiptItem(row);
    }
    const item = new vscode.TreeItem(vscode.Uri.parse(row.uri, true), vscode.TreeItemCollapsibleState.Collapsed);
    item.id = row.token;
    item.description = standing(row);
    item.tooltip = [row.label, ...row.receipt, row.problem].join("\n").trim();
    item.iconPath = new vscode.ThemeIcon(row.verified ? "verified-filled" : "warning");
    item.contextValue = "proposal";
    item.command = { title: vscode.l10n.t("Show"), command: "oci.proposals.show", arguments: [row] };
    return item;
  }

  getChildren(row?: Row): Row[] {
    if (!row) {
      return [...this.store.all];
    }
    return isProposal(row) ? row.receipt.map((text) => ({ text })) : [];
  }

  dispose(): void {
    this.subscriptions.dispose();
  }
}

/** What there is to know at a glance: a side bar is narrow. */
function standing({ problem, verified, restored, rounds }: WaitingProposal): string {
  if (problem) {
    return vscode.l10n.t("does not fit any more");
  }
  const now = verified ? vscode.l10n.t("verified") : vscode.l10n.t("not verified");
  const proof = restored ? vscode.l10n.t("earlier session") : now;
  // It tells a refined one from the one before.
  return rounds === 1 ? vscode.l10n.t("{0}, 1 round", proof) : vscode.l10n.t("{0}, {1} rounds", proof, rounds);
}

function receiptItem({ text }: ReceiptLine): vscode.TreeItem {
  // A line is a word and, in a column of its own, what there is to say about it.
  const [word, ...rest] = text.split(/\s{2,}/);
  const item = new vscode.TreeItem(word ?? text);
  item.description = rest.join(" ");
  item.tooltip = text;
  return item;
}

function isProposal(row: Row): row is WaitingProposal {
  return "token" in row;
}
