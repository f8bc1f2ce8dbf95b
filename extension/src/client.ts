import * as vscode from "vscode";
import {
  CodeActionRequest,
  DidChangeConfigurationNotification,
  ExecuteCommandRequest,
  LanguageClient,
  type LanguageClientOptions,
  type ResponseError,
  RevealOutputChannelOn,
  State as ClientState,
  WorkDoneProgressCancelNotification,
} from "vscode-languageclient/node";
import type { Notifications } from "./messages";
import { ProgressNotifications } from "./progress";
import type { Program } from "./companion";
import { onDidSelectInterpreter, withInterpreter } from "./pythonExtension";
import { HAS_SANDBOX, needsLinux } from "./sandbox";
import type { State } from "./state";
import { askForTrust } from "./trust";

/** A command of the server with its argument, as a code action has it. */
export interface Offered {
  readonly command: string;
  readonly arguments: readonly unknown[];
}

/**
 * Milliseconds that a server has to end by itself before it is killed: one that has only just answered may still be
 * loading, and what it is doing takes a moment to stop.
 */
const ENDING = 10_000;

type Listener<Message> = (message: Message) => void | Promise<void>;

/** The connection to the language server, which is started, stopped and started again. */
export class Client implements vscode.Disposable {
  readonly log = vscode.window.createOutputChannel("OCI Companion", { log: true });
  private client: LanguageClient | undefined;
  /** What was started last. */
  private started: Program | undefined;
  /** Starts and stops run one after the other, however fast they are asked for. */
  private last: Promise<void> = Promise.resolve();
  private readonly progress: ProgressNotifications;
  private readonly listeners = new Map<string, Listener<unknown>>();
  private readonly ended = new vscode.EventEmitter<void>();
  /** A server has ended, and with it what it knew. */
  readonly onDidEnd = this.ended.event;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly state: State,
    /** Returns how to start the server, or undefined while it is not set up. */
    private readonly program: () => Promise<Program | undefined>,
  ) {
    this.progress = new ProgressNotifications(state, (token) => {
      void this.client?.sendNotification(WorkDoneProgressCancelNotification.type, { token });
    });
    void onDidSelectInterpreter(() => void this.tellOfSettings()).then((subscription) => subscription && context.subscriptions.push(subscription));
  }

  /** Starts the server, or starts it anew. */
  start(): Promise<void> {
    // At once: what is asked of the one that ends would be lost.
    this.state.server = { kind: "starting" };
    return this.inTurn(async () => {
      await this.end();
      await this.begin(await this.program());
    });
  }

  /** Starts the server anew if by now it is another program. */
  startIfOther(): Promise<void> {
    return this.inTurn(async () => {
      const program = await this.program();
      if (JSON.stringify(program) !== JSON.stringify(this.started)) {
        this.state.server = { kind: "starting" };
        await this.end();
        await this.begin(program);
      }
    });
  }

  stop(): Promise<void> {
    return this.inTurn(async () => {
      await this.end();
      this.state.server = { kind: "off", why: vscode.l10n.t("The server has stopped."), isSetUp: true };
    });
  }

  /** Runs a command of the server and returns its answer. */
  async execute<Answer>(command: string, argument: object): Promise<Answer> {
    // The language client has registered the server's commands with the editor.
    return vscode.commands.executeCommand<Answer>(command, argument);
  }

  /** Lets the server send what the model writes, or not; also while it is only just starting. */
  async watch(watching: boolean): Promise<void> {
    const params = { command: "oci.watch", arguments: [{ watching }] };
    await this.client?.sendRequest(ExecuteCommandRequest.type, params);
  }

  /** Listens to a message of ours, from this server and those that take its place. */
  onNotification<Method extends keyof Notifications>(method: Method, listener: Listener<Notifications[Method]>): void {
    this.listeners.set(method, listener as Listener<unknown>);
  }

  /** Returns the commands that the server offers for a place. */
  async offers(document: vscode.TextDocument, range: vscode.Range): Promise<readonly Offered[]> {
    const client = this.client;
    if (!client) {
      return [];
    }
    const answer = await client.sendRequest(CodeActionRequest.type, {
      textDocument: client.code2ProtocolConverter.asTextDocumentIdentifier(document),
      range: client.code2ProtocolConverter.asRange(range),
      context: { diagnostics: [] },
    });
    return (answer ?? []).flatMap(({ command }) =>
      command && typeof command !== "string" ? [{ command: command.command, arguments: command.arguments ?? [] }] : [],
    );
  }

  dispose(): void {
    void this.stop();
    this.ended.dispose();
    this.log.dispose();
  }

  /** Makes the server ask for the settings, as none come with the message. */
  private async tellOfSettings(): Promise<void> {
    await this.client?.sendNotification(DidChangeConfigurationNotification.type, { settings: null });
  }

  private inTurn(step: () => Promise<void>): Promise<void> {
    this.last = this.last.then(step).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      this.log.error(why);
      this.state.server = { kind: "off", why, isSetUp: true };
    });
    return this.last;
  }

  private async begin(program: Program | undefined): Promise<void> {
    this.started = program;
    if (!program) {
      const why = HAS_SANDBOX ? vscode.l10n.t("It is not set up yet.") : needsLinux();
      this.state.server = { kind: "off", why, isSetUp: false };
      return;
    }
    const client = new LanguageClient(
      "oci",
      "OCI Companion",
      {
        command: program.command,
        args: [...program.args],
        // Not the workspace, which the client would take: what lies there is not ours.
        options: { cwd: this.context.extensionPath },
      },
      this.options(),
    );
    this.client = client;
    client.onDidChangeState(({ newState }) => {
      // How one fares that is being ended says nothing of the next.
      if (client === this.client) {
        this.follow(newState);
      }
    });
    this.listeners.forEach((listener, method) => client.onNotification(method, listener));
    await client.start();
  }

  private async end(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    try {
      await client?.dispose(ENDING);
    } catch (error) {
      // The language client kills one that does not end; one that never came up has nothing to end.
      this.log.warn(error instanceof Error ? error.message : String(error));
    }
    this.progress.closeAll();
    this.ended.fire();
  }

  private options(): LanguageClientOptions {
    return {
      // Only files on disk: a diff's or a preview's copy of one is not worked on.
      documentSelector: [{ scheme: "file", language: "python" }],
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: {
        trusted: vscode.workspace.isTrusted,
        proposals: true,
        // The server's texts stand in the same file as ours.
        l10n: vscode.l10n.bundle ?? {},
      },
      middleware: {
        handleWorkDoneProgress: this.progress.handle,
        workspace: {
          // The editor would send the settings as they are, without the interpreter that is filled in below.
          didChangeConfiguration: () => this.tellOfSettings(),
          configuration: async (params, token, next): Promise<unknown[] | ResponseError> => {
            const answer = (await next(params, token)) as unknown[] | ResponseError;
            return Array.isArray(answer) ? Promise.all(answer.map(withInterpreter)) : answer;
          },
        },
        executeCommand: async (command, args, next): Promise<unknown> => {
          if (!vscode.workspace.isTrusted) {
            await askForTrust();
            return undefined;
          }
          return next(command, args) as unknown;
        },
      },
    };
  }

  private follow(state: ClientState): void {
    switch (state) {
      case ClientState.Starting:
        this.state.server = { kind: "starting" };
        break;
      case ClientState.Running:
        this.state.server = { kind: "running" };
        break;
      default:
        this.state.server = { kind: "off", why: vscode.l10n.t("The server has stopped."), isSetUp: true };
        this.ended.fire();
        if (this.progress.closeAll() > 0) {
          void this.tellOfBreak();
        }
    }
  }

  private async tellOfBreak(): Promise<void> {
    const show = vscode.l10n.t("Show Log");
    const message = vscode.l10n.t("The OCI server ended while it was working. Nothing was changed; ask again.");
    if ((await vscode.window.showWarningMessage(message, show)) === show) {
      this.log.show();
    }
  }
}
