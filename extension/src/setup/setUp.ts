import * as vscode from "vscode";
import type { Environment } from "./environment";
import { needsLinux } from "../sandbox";
import { Cancelled, ProgramFailed } from "./process";
import { NoPython } from "./python";

/** What pip says when it reaches no package index. */
const OFFLINE =
  /name resolution|getaddrinfo|NewConnectionError|ConnectTimeout|Network is unreachable|Connection refused|ProxyError|No matching distribution/i;

/**
 * Makes the server's environment under a notification, and tells the user what went wrong.
 *
 * @returns whether it is there now.
 */
export async function setUp(environment: Environment, log: vscode.LogOutputChannel): Promise<boolean> {
  const title = vscode.l10n.t("Setting up OCI");
  const where = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  try {
    await vscode.window.withProgress(where, async (progress, cancellation) => {
      progress.report({ message: vscode.l10n.t("making a Python environment") });
      await environment.make((message) => {
        log.info(message);
        progress.report({ message });
      }, cancellation);
    });
    return true;
  } catch (error) {
    if (!(error instanceof Cancelled)) {
      log.error(error instanceof Error ? error.message : String(error));
      // Not waited for: its button asks for the set-up again, which waits for this one to end.
      void tellFailure(explain(error), log);
    }
    return false;
  }
}

function explain(error: unknown): string {
  if (error instanceof NoPython) {
    return error.message;
  }
  if (error instanceof ProgramFailed && OFFLINE.test(error.output)) {
    return vscode.l10n.t(
      "The Python packages could not be downloaded. Check the connection; behind a proxy or with an index of your own, set it with `pip config set global.index-url URL`.",
    );
  }
  const why = error instanceof ProgramFailed ? (error.output.split("\n").at(-1) ?? "") : String(error);
  return vscode.l10n.t("Setting up OCI failed: {0}", why);
}

async function tellFailure(message: string, log: vscode.LogOutputChannel): Promise<void> {
  const again = vscode.l10n.t("Try Again");
  const show = vscode.l10n.t("Show Log");
  const answer = await vscode.window.showErrorMessage(message, again, show);
  if (answer === again) {
    await vscode.commands.executeCommand("oci.setUp");
  } else if (answer === show) {
    log.show();
  }
}

/** Says why nothing is set up on another system, and where it would be. */
export async function tellOfLinux(): Promise<void> {
  await vscode.window.showWarningMessage(needsLinux());
}

/** Asks once in a window whether the server may be set up. */
export async function offerSetUp(): Promise<void> {
  const yes = vscode.l10n.t("Set Up");
  const message = vscode.l10n.t(
    "OCI needs a Python environment of its own: about 300 MB, in the extension's storage. Your projects are not touched.",
  );
  if ((await vscode.window.showInformationMessage(message, yes)) === yes) {
    await vscode.commands.executeCommand("oci.setUp");
  }
}
