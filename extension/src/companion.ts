/** A program with its arguments. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
}

/** Returns how to run `oci-companion` with a Python that has it. */
export function companionCommand(python: string, ...args: string[]): Program {
  // -I: neither the folder it is started in nor the user's PYTHONPATH may take the place of our packages.
  return { command: python, args: ["-I", "-m", "lsp_server.cli", ...args] };
}
