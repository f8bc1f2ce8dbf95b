/** What needs an extension host and no browser: what the extension registers, and what its documents and lenses hold. */

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import * as vscode from "vscode";
import { CALC, FIXED } from "../project.ts";
import { until } from "../until.ts";

interface Manifest {
  readonly main: string;
  readonly extensionKind: readonly string[];
  readonly contributes: { readonly commands: readonly { readonly command: string }[] };
}

const VERIFIED = "OCI verified: 2 of 2 tests pass, 1 round";

/** In this order: each finds what the one before has left. */
export const tests: Readonly<Record<string, () => Promise<void>>> = {
  "nothing is loaded before a Python file is opened, and then it is fast": async () => {
    const { extension, manifest } = ours();
    assert.equal(extension.isActive, false);
    const file = join(extension.extensionPath, manifest.main);
    const require = createRequire(file);
    let begun = performance.now();
    const main = require(file) as { activate(context: unknown): unknown };
    const loading = performance.now() - begun;
    let activating: number | undefined;
    const loaded = require.cache[file];
    assert.ok(loaded);
    // VS Code is given this one: it takes what is loaded already.
    loaded.exports = {
      ...main,
      activate: (context: unknown): unknown => {
        begun = performance.now();
        const exported = main.activate(context);
        activating = performance.now() - begun;
        return exported;
      },
    };
    await extension.activate();
    assert.ok(activating !== undefined);
    console.log(`OCI host note: loaded in ${loading.toFixed(1)} ms; activate() took ${activating.toFixed(1)} ms (goal: 50)`);
  },

  "it runs where the files are": () => {
    // A window of code-server is a remote one: its files are on the server's machine, not on the browser's.
    assert.ok(vscode.env.remoteName);
    assert.equal(ours().extension.extensionKind, vscode.ExtensionKind.Workspace);
    assert.deepEqual(ours().manifest.extensionKind, ["workspace"]);
    const [folder] = vscode.workspace.workspaceFolders ?? [];
    assert.equal(folder?.uri.scheme, "file");
    return Promise.resolve();
  },

  "every command of the manifest is there": async () => {
    const there = new Set(await vscode.commands.getCommands(true));
    const { commands } = ours().manifest.contributes;
    assert.deepEqual(commands.map(({ command }) => command).filter((command) => !there.has(command)), []);
  },

  "code actions are offered once the server runs": async () => {
    const { document } = await calc();
    const titles = await until("code actions", async () => {
      const place = new vscode.Range(1, 4, 1, 4);
      const run = "vscode.executeCodeActionProvider";
      const actions = await vscode.commands.executeCommand<vscode.CodeAction[]>(run, document.uri, place);
      const ours = actions.map(({ title }) => title).filter((title) => title.includes("OCI"));
      return ours.length > 0 && ours;
    });
    assert.ok(titles.includes("Fix with OCI"), titles.join());
  },

  "what decides on proposals does nothing while none waits": async () => {
    for (const name of ["show", "showReceipt", "accept", "refine", "discard"]) {
      await vscode.commands.executeCommand(`oci.proposals.${name}`);
    }
    assert.equal((await calc()).document.getText(), CALC);
  },

  "a proposal is a diff with lenses, is accepted, and undone": async () => {
    const { document, proposal } = await propose();
    assert.equal(document.getText(), CALC);
    assert.equal(proposal.getText(), FIXED);
    assert.equal(proposal.languageId, "python");
    assert.deepEqual(await lenses(proposal), ["Accept", "Discard", VERIFIED, "Refine…"]);
    await vscode.commands.executeCommand("oci.proposals.accept");
    assert.equal(document.getText(), FIXED);
    await until("the diff to close", () => diffs().length === 0);
    await vscode.window.showTextDocument(document);
    await vscode.commands.executeCommand("undo");
    assert.equal(document.getText(), CALC);
  },

  "a proposal moves along with what is edited elsewhere in its file": async () => {
    const { document, proposal } = await propose();
    await edit(document, new vscode.Range(0, 0, 0, 0), "# A note.\n");
    await until("the proposal to move", () => proposal.getText() === `# A note.\n${FIXED}`);
    await until("lenses that say so", async () => !(await lenses(proposal)).includes(VERIFIED));
    await edit(document, new vscode.Range(0, 0, 1, 0), "");
    await until("the proposal as it was", async () => (await lenses(proposal)).includes(VERIFIED));
  },

  "a proposal that fits no more says so, and cannot be accepted by its lens": async () => {
    const { document, proposal } = await propose();
    await edit(document, new vscode.Range(1, 0, 1, 16), "    return b - a");
    const told = ["Discard", "Does not fit the file any more: why?"];
    await until("lenses that say so", async () => JSON.stringify(await lenses(proposal)) === JSON.stringify(told));
    await vscode.commands.executeCommand("oci.proposals.discard");
    await until("the diff to close", () => diffs().length === 0);
    await edit(document, new vscode.Range(1, 0, 1, 16), "    return a - b");
  },

  "what the model writes is there for whoever watches, and only then": async () => {
    await vscode.commands.executeCommand("oci.watchReply");
    const reply = await until("the document", () => withScheme("oci-reply"));
    await propose();
    await until("the verdict", () => /## Round 1 of 3[^]*return a \+ b[^]*\*\*verified\*\*/.test(reply.getText()));
    await vscode.commands.executeCommand("oci.proposals.discard");
    await vscode.commands.executeCommand("workbench.action.closeAllEditors");
  },
};

function ours(): { extension: vscode.Extension<unknown>; manifest: Manifest } {
  const extension = vscode.extensions.getExtension("oci-companion.oci-companion");
  assert.ok(extension);
  return { extension, manifest: extension.packageJSON as Manifest };
}

async function calc(): Promise<vscode.TextEditor> {
  const [folder] = vscode.workspace.workspaceFolders ?? [];
  assert.ok(folder);
  const document = await vscode.workspace.openTextDocument(vscode.Uri.joinPath(folder.uri, "calc.py"));
  return vscode.window.showTextDocument(document, { selection: new vscode.Range(1, 4, 1, 4), preview: false });
}

/** Asks for a repair, and returns the file and the proposal for it. */
async function propose(): Promise<{ document: vscode.TextDocument; proposal: vscode.TextDocument }> {
  for (const tab of diffs()) {
    await vscode.window.tabGroups.close(tab);
  }
  const { document } = await calc();
  const known = new Set(vscode.workspace.textDocuments);
  await vscode.commands.executeCommand("oci.fixHere");
  const isNew = (each: vscode.TextDocument): boolean => each.uri.scheme === "oci-proposal" && !known.has(each);
  const proposal = await until("a proposal", () => vscode.workspace.textDocuments.find(isNew));
  await until("its diff", () => diffs().length === 1);
  return { document, proposal };
}

function diffs(): vscode.Tab[] {
  const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
  return tabs.filter(({ input }) => input instanceof vscode.TabInputTextDiff);
}

function withScheme(scheme: string): vscode.TextDocument | undefined {
  return vscode.workspace.textDocuments.find(({ uri }) => uri.scheme === scheme);
}

async function lenses({ uri }: vscode.TextDocument): Promise<(string | undefined)[]> {
  const found = await vscode.commands.executeCommand<vscode.CodeLens[]>("vscode.executeCodeLensProvider", uri);
  return found.map(({ command }) => command?.title);
}

async function edit({ uri }: vscode.TextDocument, range: vscode.Range, text: string): Promise<void> {
  const change = new vscode.WorkspaceEdit();
  change.replace(uri, range, text);
  assert.ok(await vscode.workspace.applyEdit(change));
}
