import * as path from "node:path";
import * as vscode from "vscode";
import type { WaitingProposal } from "../messages";
import { documentOf, tokenOf } from "./document";
import type { ProposalStore } from "./store";

/** Opens the diff of the file on the left, which can be edited, and the proposal on the right. */
export async function openDiff(proposal: WaitingProposal): Promise<void> {
  const file = vscode.Uri.parse(proposal.uri, true);
  const title = vscode.l10n.t("{0}: OCI proposal", path.posix.basename(file.path));
  await vscode.commands.executeCommand("vscode.diff", file, documentOf(proposal), title, {
    preview: false,
    selection: new vscode.Range(proposal.line, 0, proposal.line, 0),
  } satisfies vscode.TextDocumentShowOptions);
}

/** Closes the diffs of proposals that wait no longer. */
export function closeDiffs(store: ProposalStore): vscode.Disposable {
  return store.onDidRemove(({ token }) => {
    const tabs = vscode.window.tabGroups.all.flatMap(({ tabs }) => tabs);
    void vscode.window.tabGroups.close(tabs.filter((tab) => tokenShownBy(tab) === token));
  });
}

/** Returns the token of the proposal whose diff the user is looking at. */
export function tokenInFront(): string | undefined {
  const tab = vscode.window.tabGroups.activeTabGroup.activeTab;
  return tab && tokenShownBy(tab);
}

function tokenShownBy(tab: vscode.Tab): string | undefined {
  return tab.input instanceof vscode.TabInputTextDiff ? tokenOf(tab.input.modified) : undefined;
}
