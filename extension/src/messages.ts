// Made of lsp_server/features/messages.py by extension/generate_messages.py: change it there.

export interface Notifications {
  readonly "oci/proposal": WaitingProposal;
  readonly "oci/proposalClosed": ClosedProposal;
  readonly "oci/activity": Activity;
  readonly "oci/reply": Reply;
  readonly "oci/explanation": ExplanationPiece;
}

export interface WaitingProposal {
  readonly token: string;
  readonly uri: string;
  readonly version: number | null;
  readonly text: string;
  readonly line: number;
  readonly label: string;
  readonly verified: boolean;
  readonly rounds: number;
  readonly receipt: readonly string[];
  readonly problem: string;
  readonly restored: boolean;
}

export interface ClosedProposal {
  readonly token: string;
  readonly outcome: "applied" | "discarded" | "superseded";
}

export interface Activity {
  readonly token: string;
  readonly phase: "loading" | "generating" | "testing";
  readonly model: string;
  readonly device: string;
}

export interface Reply {
  readonly token: string;
  readonly text: string;
  readonly begins: boolean;
}

export interface ExplanationPiece {
  readonly token: string;
  readonly text: string;
  readonly done: boolean;
}

export interface Decision {
  readonly applied: boolean;
  readonly message: string;
}

export interface KeptProposal {
  readonly token: string;
  readonly uri: string;
  readonly target: string;
  readonly created: number;
  readonly verdict: string;
  readonly reason: string;
  readonly decision: "waiting" | "applied" | "discarded";
}
