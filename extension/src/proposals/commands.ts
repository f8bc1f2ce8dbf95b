import * as vscode from "vscode";
import type { Client } from "../client";
import type { Decision, WaitingProposal } from "../messages";
import { openDiff, tokenInFront } from "./diff";
import { tokenOf } from "./document";
import type { Explanation } from "./explanation";
import type { ProposalStore } from "./store";

/** Registers what a user can do with a proposal that waits. */
export function registerProposalCommands(
  client: Client,
  store: ProposalStore,
  explanation: Explanation,
): vscode.Disposable {
  const on = (command: string, act: (proposal: WaitingProposal) => Promise<void>): vscode.Disposable =>
    vscode.commands.registerCommand(command, async (argument?: unknown) => {
      const proposal = await meant(store, argument);
      if (proposal) {
        await act(proposal);
      }
    });
  return vscode.Disposable.from(
    on("oci.proposals.show", openDiff),
    on("oci.proposals.showReceipt", showReceipt),
    on("oci.proposals.accept", (proposal) => accept(client, proposal)),
    on("oci.proposals.refine", (proposal) => refine(client, proposal)),
    on("oci.proposals.explain", (proposal) => explanation.of(proposal)),
    on("oci.proposals.discard", ({ token }) => client.execute("oci.discardProposal", { token })),
  );
}

/** Asks the server to apply a proposal to the file as it is now. */
async function accept(client: Client, proposal: WaitingProposal): Promise<void> {
  const { applied, message } = await client.execute<Decision>("oci.acceptProposal", { token: proposal.token });
  if (!applied) {
    await tellRefusal(client, proposal, message);
    return;
  }
  const place = new vscode.Range(proposal.line, 0, proposal.line, 0);
  await vscode.window.showTextDocument(vscode.Uri.parse(proposal.uri, true), { selection: place, preview: false });
  vscode.window.setStatusBarMessage(vscode.l10n.t("$(check) The proposal is applied. Undo takes it back."), 10_000);
}

/** Asks what should be different, and lets the server go on from there; the proposal itself goes on waiting. */
async function refine(client: Client, { token }: WaitingProposal): Promise<void> {
  const feedback = await vscode.window.showInputBox({
    title: vscode.l10n.t("Refine with Feedback"),
    prompt: vscode.l10n.t("What should be different? The tests run on what comes of it."),
    placeHolder: vscode.l10n.t("Use sum() instead of a loop"),
  });
  if (feedback?.trim()) {
    await client.execute("oci.refineProposal", { token, feedback: feedback.trim() });
  }
}

/** The proposal still waits: the user may change the file so that it fits again. */
async function tellRefusal(client: Client, { token }: WaitingProposal, why: string): Promise<void> {
  const discard = vscode.l10n.t("Discard Proposal");
  const message = vscode.l10n.t("The proposal was not applied: {0}", why);
  if ((await vscode.window.showWarningMessage(message, discard)) === discard) {
    await client.execute("oci.discardProposal", { token });
  }
}

async function showReceipt(proposal: WaitingProposal): Promise<void> {
  const detail = [proposal.problem, ...proposal.receipt].join("\n").trim();
  await vscode.window.showInformationMessage(proposal.label, { modal: true, detail });
}

/**
 * Returns the proposal that a command is about: the one that a lens, a row of the view or a diff's title bar names,
 * else the one whose diff is in front, the only one that waits, or the one that the user picks.
 */
async function meant(store: ProposalStore, argument: unknown): Promise<WaitingProposal | undefined> {
  const named = store.get(tokenIn(argument) ?? tokenInFront() ?? "");
  if (named ?? store.all.length < 2) {
    return named ?? store.all[0];
  }
  const rows = store.all.map((proposal) => ({
    label: vscode.workspace.asRelativePath(vscode.Uri.parse(proposal.uri, true)),
    description: proposal.label,
    proposal,
  }));
  return (await vscode.window.showQuickPick(rows, { title: vscode.l10n.t("Which proposal?") }))?.proposal;
}

function tokenIn(argument: unknown): string | undefined {
  if (typeof argument === "string") {
    return argument;
  }
  if (argument instanceof vscode.Uri) {
    return tokenOf(argument);
  }
  return typeof argument === "object" && argument && "token" in argument ? String(argument.token) : undefined;
}
