import * as vscode from "vscode";
import type { Middleware, ProgressToken } from "vscode-languageclient/node";
import type { State } from "./state";

interface Shown {
  readonly title: string;
  report(message: string, increment: number): void;
  close(): void;
  percentage: number;
}

/**
 * Shows the server's progress as notifications that can be cancelled.
 *
 * The language client itself would show it in the status bar only, where nobody finds how to cancel.
 */
export class ProgressNotifications {
  private readonly shown = new Map<ProgressToken, Shown>();

  constructor(
    private readonly state: State,
    private readonly cancel: (token: ProgressToken) => void,
  ) {}

  readonly handle: NonNullable<Middleware["handleWorkDoneProgress"]> = (token, params) => {
    if (params.kind === "begin") {
      this.begin(token, params.title, params.message ?? "", params.cancellable ?? false);
      return;
    }
    const shown = this.shown.get(token);
    if (!shown) {
      return;
    }
    if (params.kind === "report") {
      const percentage = params.percentage ?? shown.percentage;
      shown.report(params.message ?? "", percentage - shown.percentage);
      shown.percentage = percentage;
      this.state.setWork(token, { title: shown.title, message: params.message ?? "" });
    } else {
      this.end(token);
    }
  };

  /** Closes every notification; returns how many there were. */
  closeAll(): number {
    const open = [...this.shown.keys()];
    for (const token of open) {
      this.end(token);
    }
    return open.length;
  }

  private begin(token: ProgressToken, title: string, message: string, cancellable: boolean): void {
    const where = { location: vscode.ProgressLocation.Notification, title, cancellable };
    void vscode.window.withProgress(where, (progress, cancellation) => {
      cancellation.onCancellationRequested(() => {
        this.cancel(token);
      });
      return new Promise<void>((resolve) => {
        const report = (text: string, increment: number): void => {
          progress.report({ message: text, increment });
        };
        this.shown.set(token, { title, report, close: resolve, percentage: 0 });
        report(message, 0);
        this.state.setWork(token, { title, message });
      });
    });
  }

  private end(token: ProgressToken): void {
    this.shown.get(token)?.close();
    this.shown.delete(token);
    this.state.endWork(token);
  }
}
