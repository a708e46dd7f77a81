// Server-sent events over fetch: unlike EventSource this can carry a token and tells an error from an end.

import { ApiError, send } from "./client";

export interface ServerEvent {
  event: string;
  data: string;
}

/** Cuts a stream of text into events, whatever the pieces it comes in. */
export class EventParser {
  #rest = "";

  push(piece: string): ServerEvent[] {
    const lines = (this.#rest + piece).split(/\r?\n/);
    // A blank line ends an event; what follows the last one waits for more.
    const end = lines.lastIndexOf("", lines.length - 2);
    if (end < 0) {
      this.#rest = lines.join("\n");
      return [];
    }
    this.#rest = lines.slice(end + 1).join("\n");
    const events: ServerEvent[] = [];
    let event = "message";
    let data: string[] = [];
    for (const line of lines.slice(0, end + 1)) {
      if (line === "") {
        if (data.length > 0) events.push({ event, data: data.join("\n") });
        [event, data] = ["message", []];
        continue;
      }
      const colon = line.indexOf(":");
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "event") event = value;
      if (name === "data") data.push(value);
    }
    return events;
  }
}

/** Reads one stream to its end. */
export async function readEvents(reply: Response, onEvent: (event: ServerEvent) => void): Promise<void> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = reply.body!.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const event of parser.push(decoder.decode(value, { stream: true }))) onEvent(event);
  }
}

/** Follows a stream until `onEvent` says that it is over, connecting again when the connection is lost. */
export async function follow(
  path: string,
  signal: AbortSignal,
  onEvent: (event: ServerEvent) => "more" | "over",
  onLost: (error: ApiError | null) => void,
): Promise<void> {
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 10_000)) {
    let over = false;
    try {
      const reply = await send(path, { signal, headers: { accept: "text/event-stream" } });
      onLost(null);
      await readEvents(reply, (event) => {
        wait = 500;
        if (onEvent(event) === "over") over = true;
      });
    } catch (error) {
      if (signal.aborted) return;
      const known = error instanceof ApiError ? error : new ApiError("The connection was lost.", 0, "unreachable");
      onLost(known);
      if (known.status >= 400 && known.status < 500 && known.status !== 429) return;
    }
    if (over) return;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
