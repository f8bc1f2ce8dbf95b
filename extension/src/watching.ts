import * as vscode from "vscode";
import type { Client } from "./client";
import type { State } from "./state";

const SCHEME = "oci-reply";
const DOCUMENT = vscode.Uri.from({ scheme: SCHEME, path: "/OCI reply.md" });
/** Lines above the end within which the end is taken to be in view. */
const NEAR = 3;

/** Shows what the model writes, as it is written, in a read-only document beside the code. */
export function registerWatching(client: Client, state: State): vscode.Disposable {
  const reply = new ReplyDocument();
  client.onNotification("oci/reply", ({ text, begins }) => {
    reply.text = begins ? text : reply.text + text;
  });
  return vscode.Disposable.from(
    reply,
    followEnd(),
    subscribeWhileShown(client, state),
    vscode.commands.registerCommand("oci.watchReply", show),
  );
}

class ReplyDocument implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changed.event;
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this);
  private now = "";

  get text(): string {
    return this.now;
  }

  set text(text: string) {
    this.now = text;
    this.changed.fire(DOCUMENT);
  }

  provideTextDocumentContent(): string {
    return this.now || vscode.l10n.t("Nothing has been asked yet. What the model writes shows here, as it is written.");
  }

  dispose(): void {
    this.registration.dispose();
    this.changed.dispose();
  }
}

async function show(): Promise<void> {
  const shown = tabsShowingIt()[0];
  await vscode.window.showTextDocument(DOCUMENT, {
    viewColumn: shown?.group.viewColumn ?? vscode.ViewColumn.Beside,
    preserveFocus: true,
    preview: false,
  });
}

/** Keeps the end in view for whoever has not scrolled away from it. */
function followEnd(): vscode.Disposable {
  let lines = 0;
  return vscode.workspace.onDidChangeTextDocument(({ document }) => {
    if (document.uri.toString() !== DOCUMENT.toString()) {
      return;
    }
    const last = new vscode.Range(document.lineCount - 1, 0, document.lineCount - 1, 0);
    for (const editor of vscode.window.visibleTextEditors.filter((each) => each.document === document)) {
      const seen = editor.visibleRanges.at(-1)?.end.line ?? 0;
      if (seen >= lines - NEAR) {
        editor.revealRange(last);
      }
    }
    lines = document.lineCount;
  });
}

/** Lets the server send what the model writes while the document is open, and only then. */
function subscribeWhileShown(client: Client, state: State): vscode.Disposable {
  let isSent = false;
  const update = (): void => {
    if (state.server.kind !== "running" || !vscode.workspace.isTrusted) {
      isSent = false;
      return;
    }
    const watching = tabsShowingIt().length > 0;
    if (watching !== isSent) {
      isSent = watching;
      void client.watch(watching);
    }
  };
  return vscode.Disposable.from(state.onDidChange(update), vscode.window.tabGroups.onDidChangeTabs(update));
}

function tabsShowingIt(): vscode.Tab[] {
  const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
  return tabs.filter(({ input }) => input instanceof vscode.TabInputText && input.uri.toString() === DOCUMENT.toString());
}
