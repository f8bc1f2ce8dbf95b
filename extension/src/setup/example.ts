import { cp, rm, symlink } from "node:fs/promises";
import * as path from "node:path";
import * as vscode from "vscode";
import type { Client } from "../client";

/** Opens a copy of the bundled example and lets its failing test be fixed. */
export async function repairExample(context: vscode.ExtensionContext, environment: string, client: Client): Promise<void> {
  const folder = path.join(context.globalStorageUri.fsPath, "example");
  await rm(folder, { recursive: true, force: true });
  await cp(path.join(context.extensionPath, "examples", "dates"), folder, { recursive: true });
  // Its tests need pytest, which the server's environment has.
  await symlink(environment, path.join(folder, ".venv"));
  const test = vscode.Uri.file(path.join(folder, "tests", "test_dates.py"));
  await vscode.window.showTextDocument(test, { preview: false });
  await client.execute("oci.fix", { uri: test.toString() });
}
