import * as vscode from "vscode";
import type { Client } from "../client";
import type { WaitingProposal } from "../messages";
import { StreamedDocument } from "../streamed";

/** Shows beside a proposal why the test failed and what was changed, as the model writes it. */
export class Explanation implements vscode.Disposable {
  private readonly document = new StreamedDocument(
    "oci-explanation",
    "OCI explanation.md",
    vscode.l10n.t("No proposal is explained."),
  );
  private token = "";

  constructor(private readonly client: Client) {
    client.onNotification("oci/explanation", ({ token, text }) => {
      if (token === this.token) {
        this.document.text += text;
      }
    });
  }

  async of({ token, label }: WaitingProposal): Promise<void> {
    this.token = token;
    this.document.text = `# ${label}\n\n`;
    await this.document.show();
    await this.client.execute("oci.explainProposal", { token });
  }

  dispose(): void {
    this.document.dispose();
  }
}
