import * as vscode from "vscode";

/** Lines above the end within which the end is taken to be in view. */
const NEAR = 3;

/** A read-only document beside the code, whose text comes piece by piece. */
export class StreamedDocument implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly uri: vscode.Uri;
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changed.event;
  private readonly subscriptions: vscode.Disposable;
  private now = "";
  private lines = 0;

  constructor(
    scheme: string,
    name: string,
    /** What it shows as long as it has no text. */
    private readonly empty: string,
  ) {
    this.uri = vscode.Uri.from({ scheme, path: `/${name}` });
    this.subscriptions = vscode.Disposable.from(
      this.changed,
      vscode.workspace.registerTextDocumentContentProvider(scheme, this),
      vscode.workspace.onDidChangeTextDocument(({ document }) => {
        this.followEnd(document);
      }),
    );
  }

  get text(): string {
    return this.now;
  }

  set text(text: string) {
    this.now = text;
    this.changed.fire(this.uri);
  }

  provideTextDocumentContent(): string {
    return this.now || this.empty;
  }

  async show(): Promise<void> {
    await vscode.window.showTextDocument(this.uri, {
      viewColumn: this.tabs[0]?.group.viewColumn ?? vscode.ViewColumn.Beside,
      preserveFocus: true,
      preview: false,
    });
  }

  /** The tabs that show it. */
  get tabs(): readonly vscode.Tab[] {
    const all = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    return all.filter(({ input }) => input instanceof vscode.TabInputText && this.is(input.uri));
  }

  dispose(): void {
    this.subscriptions.dispose();
  }

  private is(uri: vscode.Uri): boolean {
    return uri.toString() === this.uri.toString();
  }

  /** Keeps the end in view for whoever has not scrolled away from it. */
  private followEnd(document: vscode.TextDocument): void {
    if (!this.is(document.uri)) {
      return;
    }
    const last = new vscode.Range(document.lineCount - 1, 0, document.lineCount - 1, 0);
    for (const editor of vscode.window.visibleTextEditors.filter((each) => each.document === document)) {
      const seen = editor.visibleRanges.at(-1)?.end.line ?? 0;
      if (seen >= this.lines - NEAR) {
        editor.revealRange(last);
      }
    }
    this.lines = document.lineCount;
  }
}
