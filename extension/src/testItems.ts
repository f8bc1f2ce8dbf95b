import * as vscode from "vscode";
import type { Client } from "./client";
import { fix, ready } from "./requests";
import type { State } from "./state";

/** Lets a test be fixed from the Test Explorer: from its item, or from the message of its failure. */
export function registerTestItems(client: Client, state: State): vscode.Disposable {
  return vscode.commands.registerCommand("oci.fixTestItem", async (argument: unknown) => {
    const test = testIn(argument);
    if (test?.uri && (await ready(state))) {
      const document = await vscode.workspace.openTextDocument(test.uri);
      await fix(client, document, test.range ?? new vscode.Range(0, 0, 0, 0));
    }
  });
}

/** What the two menus hand over: the test itself, or the message with its test. */
function testIn(argument: unknown): Pick<vscode.TestItem, "uri" | "range"> | undefined {
  if (typeof argument !== "object" || !argument) {
    return undefined;
  }
  return ("test" in argument ? argument.test : argument) as vscode.TestItem;
}
