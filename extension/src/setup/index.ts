import * as path from "node:path";
import * as vscode from "vscode";
import type { Client } from "../client";
import { companionCommand, type Program } from "../companion";
import { HAS_SANDBOX } from "../sandbox";
import { showDoctor } from "./doctor";
import { Environment } from "./environment";
import { repairExample } from "./example";
import { selectModel } from "./model";
import { offerSetUp, setUp, tellOfLinux } from "./setUp";

const MODEL_CHOSEN = "modelChosen";

/** The server's Python side: where it is, how it is set up, and what is done with its commands. */
export class Setup {
  private readonly environment: Environment;

  constructor(private readonly context: vscode.ExtensionContext) {
    this.environment = new Environment(context);
  }

  /** Returns how to start the server, or undefined while there is nothing to start. */
  async serverCommand(): Promise<Program | undefined> {
    return HAS_SANDBOX && (await this.isThere()) ? this.companion("lsp") : undefined;
  }

  register(client: Client): vscode.Disposable {
    const { context, environment } = this;
    let making: Promise<void> | undefined;
    const make = async (): Promise<void> => {
      await client.stop();
      await setUp(environment, client.log);
      await this.tellContext();
      await client.start();
    };
    /** It can be asked for in several places; one at a time is made. */
    const makeOnce = (): Promise<void> =>
      (making ??= make().finally(() => {
        making = undefined;
      }));
    const whereSandboxed = (act: () => Promise<void>) => (): Promise<void> => (HAS_SANDBOX ? act() : tellOfLinux());
    /** Commands that need the server's environment lead to it where it is missing. */
    const whenThere = (act: () => Promise<void>): (() => Promise<void>) =>
      whereSandboxed(async () => ((await this.isThere()) ? act() : offerSetUp()));
    const cwd = context.extensionPath;
    const choose = async (): Promise<void> => {
      if (await selectModel(this.companion, cwd, client.log)) {
        await context.globalState.update(MODEL_CHOSEN, true);
        await this.tellContext();
      }
    };
    const example = (): Promise<void> => repairExample(context, path.dirname(path.dirname(this.python())), client);
    return vscode.Disposable.from(
      vscode.commands.registerCommand("oci.setUp", whereSandboxed(makeOnce)),
      vscode.commands.registerCommand("oci.selectModel", whenThere(choose)),
      vscode.commands.registerCommand("oci.doctor", whenThere(() => showDoctor(this.companion, cwd, client.log))),
      vscode.commands.registerCommand("oci.repairExample", whenThere(example)),
    );
  }

  /** Sets up what an update of the extension has made necessary, or asks whether to set up at all. */
  async begin(): Promise<void> {
    await this.tellContext();
    if (!HAS_SANDBOX) {
      await tellOfLinux();
      return;
    }
    if (await this.isThere()) {
      return;
    }
    if (await this.environment.hasPredecessor()) {
      await vscode.commands.executeCommand("oci.setUp");
    } else {
      await offerSetUp();
    }
  }

  private readonly companion = (...args: string[]): Program => companionCommand(this.python(), ...args);

  private python(): string {
    return chosenPython() || this.environment.python;
  }

  private async isThere(): Promise<boolean> {
    return chosenPython() !== "" || this.environment.isComplete();
  }

  /** What the walkthrough's steps wait for. */
  private async tellContext(): Promise<void> {
    await vscode.commands.executeCommand("setContext", "oci.isSetUp", await this.isThere());
    const chosen = this.context.globalState.get<boolean>(MODEL_CHOSEN, false);
    await vscode.commands.executeCommand("setContext", "oci.modelChosen", chosen);
  }
}

function chosenPython(): string {
  return vscode.workspace.getConfiguration("oci").get<string>("server.python", "");
}
