import * as vscode from "vscode";
import type { Activity } from "./messages";

/** What the server is doing; `why` is for the user. */
export type Server =
  | { readonly kind: "off"; readonly why: string; readonly isSetUp: boolean }
  | { readonly kind: "starting" }
  | { readonly kind: "running" };

/** A request that is being worked on. */
export interface Work {
  readonly title: string;
  readonly message: string;
  readonly activity?: Activity;
}

/** What the status bar shows and commands ask for. */
export class State implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChange = this.changed.event;
  private now: Server = { kind: "off", why: "", isSetUp: true };
  /** By the token of its progress. */
  private readonly working = new Map<string | number, Work>();
  private readonly activities = new Map<string | number, Activity>();
  private latest: Activity | undefined;

  get server(): Server {
    return this.now;
  }

  set server(server: Server) {
    this.now = server;
    this.changed.fire();
  }

  get works(): readonly Work[] {
    return [...this.working].map(([token, work]) => {
      const activity = this.activities.get(token);
      return activity ? { ...work, activity } : work;
    });
  }

  /** What the last request ran on, while the settings are still the same. */
  get engine(): Pick<Activity, "model" | "device"> | undefined {
    return this.latest;
  }

  setActivity(activity: Activity): void {
    this.activities.set(activity.token, activity);
    this.latest = activity;
    this.changed.fire();
  }

  forgetEngine(): void {
    this.latest = undefined;
    this.changed.fire();
  }

  setWork(token: string | number, work: Work): void {
    this.working.set(token, work);
    this.changed.fire();
  }

  endWork(token: string | number): void {
    this.working.delete(token);
    this.activities.delete(token);
    this.changed.fire();
  }

  dispose(): void {
    this.changed.dispose();
  }
}
