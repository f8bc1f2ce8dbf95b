/** A model whose replies are written beforehand: an OpenAI-compatible endpoint in this process. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export class ScriptedModel {
  /** What it answers, in turn; the last one again and again. */
  replies: string[] = [];
  /** Milliseconds between two pieces of a reply. */
  pause = 0;
  /** How often it was asked. */
  asked = 0;
  /** How many replies the client has left unread. */
  brokenOff = 0;

  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => {
      void this.answer(request, response);
    });
  }

  static async start(): Promise<ScriptedModel> {
    const model = new ScriptedModel();
    model.server.listen(0, "127.0.0.1");
    await once(model.server, "listening");
    return model;
  }

  /** The address for `oci.endpoint`. */
  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1`;
  }

  /** Answers with these from now on. */
  script(replies: string[], pause = 0): void {
    Object.assign(this, { replies, pause, asked: 0, brokenOff: 0 });
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    await once(request, "end");
    if (!request.url?.endsWith("/chat/completions")) {
      response.setHeader("Content-Type", "application/json");
      response.statusCode = request.url?.endsWith("/models") ? 200 : 404;
      response.end(JSON.stringify(response.statusCode === 200 ? { data: [{ id: "scripted" }] } : { error: {} }));
      return;
    }
    this.asked += 1;
    const reply = (this.replies.length > 1 ? this.replies.shift() : this.replies[0]) ?? "";
    response.setHeader("Content-Type", "text/event-stream");
    for (const word of reply.split(" ")) {
      if (response.closed) {
        this.brokenOff += 1;
        return;
      }
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: `${word} ` } }] })}\n\n`);
      await sleep(this.pause);
    }
    response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}\n\n`);
    response.end("data: [DONE]\n\n");
  }
}

/** A reply that holds this code. */
export function fenced(code: string): string {
  return `Here it is.\n\`\`\`python\n${code}\n\`\`\`\n`;
}
