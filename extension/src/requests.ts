import * as vscode from "vscode";
import type { Client } from "./client";
import type { State } from "./state";
import { askForTrust } from "./trust";

/** Registers the commands that ask for code at the cursor. */
export function registerRequests(client: Client, state: State): vscode.Disposable {
  const withEditor = (ask: (editor: vscode.TextEditor) => Promise<void>) => async (): Promise<void> => {
    const editor = vscode.window.activeTextEditor;
    if (editor && (await ready(state))) {
      await ask(editor);
    }
  };
  return vscode.Disposable.from(
    vscode.commands.registerCommand("oci.generateHere", withEditor((editor) => generate(client, editor, ""))),
    vscode.commands.registerCommand(
      "oci.generateWithInstruction",
      withEditor(async (editor) => {
        const instruction = await vscode.window.showInputBox({
          title: vscode.l10n.t("Generate with OCI"),
          prompt: vscode.l10n.t("What should the code at the cursor do?"),
          placeHolder: vscode.l10n.t("Return the three largest values, largest first"),
        });
        if (instruction?.trim()) {
          await generate(client, editor, instruction.trim());
        }
      }),
    ),
    vscode.commands.registerCommand("oci.fixHere", withEditor(({ document, selection }) => fix(client, document, selection))),
  );
}

async function generate(client: Client, editor: vscode.TextEditor, instruction: string): Promise<void> {
  const { start, end } = editor.selection;
  const range = { start: position(start), end: position(end) };
  await client.execute("oci.generate", { uri: editor.document.uri.toString(), range, instruction });
}

/** Asks for what the lightbulb would offer at a place, so that both mean the same. */
export async function fix(client: Client, document: vscode.TextDocument, range: vscode.Range): Promise<void> {
  const offers = await client.offers(document, range);
  const offer = ["oci.fixTest", "oci.fix"].flatMap((name) => offers.filter(({ command }) => command === name))[0];
  if (offer) {
    await client.execute(offer.command, offer.arguments[0] as object);
  } else {
    await client.execute("oci.fix", { uri: document.uri.toString() });
  }
}

/** Whether the server can be asked; tells the user what to do if not. */
export async function ready(state: State): Promise<boolean> {
  if (!vscode.workspace.isTrusted) {
    await askForTrust();
    return false;
  }
  const { server } = state;
  if (server.kind === "running") {
    return true;
  }
  if (server.kind === "starting") {
    void vscode.window.showInformationMessage(vscode.l10n.t("The OCI server is starting. Ask again in a moment."));
    return false;
  }
  const mend = server.isSetUp
    ? { title: vscode.l10n.t("Restart Server"), command: "oci.restartServer" }
    : { title: vscode.l10n.t("Set Up"), command: "oci.setUp" };
  const message = vscode.l10n.t("The OCI server is not running. {0}", server.why);
  if ((await vscode.window.showErrorMessage(message, mend))?.command === mend.command) {
    await vscode.commands.executeCommand(mend.command);
  }
  return false;
}

function position(at: vscode.Position): { line: number; character: number } {
  return { line: at.line, character: at.character };
}
