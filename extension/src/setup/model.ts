import * as vscode from "vscode";
import type { Program } from "../companion";
import { Cancelled, ProgramFailed, runProgram } from "./process";

/** Runs `oci-companion` with these arguments in the server's environment. */
export type Companion = (...args: string[]) => Program;

/** What `model fit --json` tells, as far as it is used here. */
interface Fits {
  readonly device: string;
  /** Why no GPU is used though there is NVIDIA's driver; empty otherwise. */
  readonly no_gpu: string;
  readonly models: readonly {
    readonly id: string;
    readonly parameters: number;
    readonly exportable: boolean;
    readonly forms: readonly { readonly precision: string; readonly weights: number; readonly context: number }[];
  }[];
  readonly recommended: { readonly id: string; readonly reason: string } | null;
}

interface Choice extends vscode.QuickPickItem {
  readonly id: string;
}

/**
 * Lets the user choose a model that fits this machine, and gets it.
 *
 * @returns whether a model is chosen and here.
 */
export async function selectModel(companion: Companion, cwd: string, log: vscode.LogOutputChannel): Promise<boolean> {
  try {
    const fits = JSON.parse(await runProgram(companion("model", "fit", "--json"), { cwd })) as Fits;
    const title = vscode.l10n.t("Models that fit this machine");
    const chosen = await vscode.window.showQuickPick(choices(fits), { title, placeHolder: fits.no_gpu, matchOnDetail: true });
    if (!chosen) {
      return false;
    }
    await get(companion, chosen.id, fits.device, cwd, log);
    await vscode.workspace.getConfiguration("oci").update("model", chosen.id, vscode.ConfigurationTarget.Global);
    void vscode.window.showInformationMessage(vscode.l10n.t("OCI uses {0} now.", chosen.id));
    return true;
  } catch (error) {
    if (error instanceof Cancelled) {
      return false;
    }
    const why = error instanceof ProgramFailed ? error.output : String(error);
    log.error(why);
    void vscode.window.showErrorMessage(why.split("\n").at(-1) ?? why);
    return false;
  }
}

function choices({ models, recommended }: Fits): Choice[] {
  const fitting = models.filter(
    ({ exportable, forms }) => exportable && forms.some(({ context }) => context > 0),
  );
  const rows = fitting.map(({ id, parameters, forms }) => {
    const least = Math.min(...forms.filter(({ context }) => context > 0).map(({ weights }) => weights));
    const [billions, gigabytes] = [parameters / 1e9, least / 1e9].map((value) => value.toFixed(1));
    const size = vscode.l10n.t("{0} billion parameters, {1} GB", billions ?? "", gigabytes ?? "");
    const isBest = id === recommended?.id;
    return {
      id,
      label: id,
      description: isBest ? vscode.l10n.t("{0} (recommended)", size) : size,
      ...(isBest ? { detail: recommended.reason } : {}),
    };
  });
  return rows.sort((a, b) => Number(b.id === recommended?.id) - Number(a.id === recommended?.id));
}

/** Downloads a model and makes the form of it that the engine loads; what is here already is not done again. */
async function get(
  companion: Companion,
  id: string,
  device: string,
  cwd: string,
  log: vscode.LogOutputChannel,
): Promise<void> {
  const title = vscode.l10n.t("Getting {0}", id);
  const where = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  await vscode.window.withProgress(where, async (progress, cancellation) => {
    const onLine = (line: string): void => {
      const text = plain(line);
      // The bar has bytes so far and in all; the other lines are steps.
      const bytes = /[\d.]+\/[\d.]+ [kMGT]?B/.exec(text)?.[0];
      progress.report({ message: bytes ?? text });
      if (!bytes) {
        log.info(text);
      }
    };
    // Without a terminal the bar would show once, at its end.
    const env = { TTY_COMPATIBLE: "1", COLUMNS: "160" };
    await runProgram(companion("model", "pull", id), { cwd, env, onLine, cancellation });
    await runProgram(companion("model", "export", id, "--device", device), { cwd, onLine, cancellation });
  });
}

/** A line without what moves and colours it on a terminal. */
function plain(line: string): string {
  return line.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "").trim();
}
