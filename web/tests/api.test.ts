import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiError, get, post, query } from "../src/api/client";
import { EventParser, follow } from "../src/api/events";

afterEach(() => vi.unstubAllGlobals());

function answer(...replies: (Response | Error)[]) {
  const fetch = vi.fn(async (_path: string, _init?: RequestInit) => {
    const reply = replies.shift()!;
    if (reply instanceof Error) throw reply;
    return reply;
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

async function failure(reply: Response | Error): Promise<ApiError> {
  answer(reply);
  return get("/v1/structures/x").then(
    () => expect.fail("it succeeded"),
    (error: ApiError) => error,
  );
}

describe("errors", () => {
  it("are shown in the server's words", async () => {
    const body = { error: { code: "structure_not_found", message: "no structure `x`: list them", type: "not_found" } };
    const error = await failure(Response.json(body, { status: 404, headers: { "x-request-id": "r1" } }));
    expect(error).toMatchObject({
      message: "no structure `x`: list them",
      code: "structure_not_found",
      status: 404,
      requestId: "r1",
    });
  });
  it("keep what a proxy says", async () => {
    const error = await failure(new Response("upstream is gone", { status: 502 }));
    expect(error.message).toBe("The server answered 502: upstream is gone");
    expect(error.code).toBe("http_502");
  });
  it("survive JSON of another form", async () => {
    const error = await failure(Response.json({ detail: "no" }, { status: 400 }));
    expect(error.message).toBe('The server answered 400: {"detail":"no"}');
  });
  it("say that the server does not answer", async () => {
    const error = await failure(new TypeError("Failed to fetch"));
    expect(error).toMatchObject({ code: "unreachable", status: 0 });
  });
});

it("posts JSON", async () => {
  const fetch = answer(Response.json({ id: "j" }, { status: 202 }));
  expect(await post("/v1/searches", { task: "sst2" })).toEqual({ id: "j" });
  expect(fetch.mock.calls[0]![1]).toMatchObject({
    method: "POST",
    body: '{"task":"sst2"}',
    headers: { "content-type": "application/json" },
  });
});

it("builds queries without what is empty", () => {
  expect(query("/v1/structures", { source_task: "a b", space: "", limit: 5, cursor: null })).toBe(
    "/v1/structures?source_task=a+b&limit=5",
  );
  expect(query("/v1/jobs", {})).toBe("/v1/jobs");
});

describe("event streams", () => {
  const text = ': hello\n\nevent: progress\ndata: {"step":1}\n\ndata: a\ndata: b\n\nevent: state\r\ndata: {}\r\n\r\n';
  const wanted = [
    { event: "progress", data: '{"step":1}' },
    { event: "message", data: "a\nb" },
    { event: "state", data: "{}" },
  ];
  it.each([1, 2, 3, 7, 1000])("are the same in pieces of %i", (size) => {
    const parser = new EventParser();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...parser.push(text.slice(at, at + size)));
    expect(found).toEqual(wanted);
  });
  it("are followed to the end that the reader names", async () => {
    answer(new Response("event: progress\ndata: 1\n\nevent: state\ndata: 2\n\n"));
    const seen: string[] = [];
    const lost = vi.fn();
    await follow(
      "/events",
      new AbortController().signal,
      ({ event, data }) => {
        seen.push(data);
        return event === "state" ? "over" : "more";
      },
      lost,
    );
    expect(seen).toEqual(["1", "2"]);
    expect(lost).toHaveBeenCalledWith(null);
  });
  it("stop at a refusal", async () => {
    answer(Response.json({ error: { code: "job_not_found", message: "no job" } }, { status: 404 }));
    const lost = vi.fn();
    await follow("/events", new AbortController().signal, () => "more", lost);
    expect(lost.mock.calls[0]![0]).toMatchObject({ code: "job_not_found" });
  });
});
