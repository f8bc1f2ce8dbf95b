import * as vscode from "vscode";

/** The program that is the language server. */
export interface ServerCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/** Returns how to start the server, or undefined while its environment is not set up. */
export function serverCommand(): ServerCommand | undefined {
  const python = vscode.workspace.getConfiguration("oci").get<string>("server.python", "");
  if (python === "") {
    return undefined;
  }
  return companionCommand(python, "lsp");
}

/** Returns how to run `oci-companion` with a Python that has it. */
export function companionCommand(python: string, ...args: string[]): ServerCommand {
  // -I: neither the folder it is started in nor the user's PYTHONPATH may take the place of our packages.
  return { command: python, args: ["-I", "-m", "lsp_server.cli", ...args] };
}
