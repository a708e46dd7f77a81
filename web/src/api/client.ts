// Calls of the HTTP interface. An error keeps the server's own words: they name the thing and the fix.

const TOKEN = "s3delta-token";

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly requestId: string | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** A bearer token for servers that ask for one; kept until the tab closes. */
export function setToken(token: string): void {
  sessionStorage.setItem(TOKEN, token);
}

function headers(): Record<string, string> {
  const token = globalThis.sessionStorage?.getItem(TOKEN);
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** A request whose reply is not read yet; fails with {@link ApiError} unless it is a success. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  let reply: Response;
  try {
    reply = await fetch(path, { ...init, headers: { ...headers(), ...(init.headers as Record<string, string>) } });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new ApiError("The server does not answer. Is `s3delta serve` running?", 0, "unreachable");
  }
  if (!reply.ok) throw await readError(reply);
  return reply;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const reply = await send(path, signal ? { signal } : {});
  return (await reply.json()) as T;
}

export async function post<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const reply = await send(path, { method: "POST", ...json, ...(signal ? { signal } : {}) });
  return (await reply.json()) as T;
}

/** Reads `{"error": {code, message}}`; whatever else came is shown as it is. */
export async function readError(reply: Response): Promise<ApiError> {
  const requestId = reply.headers.get("x-request-id");
  const text = await reply.text().catch(() => "");
  try {
    const { error } = JSON.parse(text) as { error: { code?: string; message?: string; request_id?: string } };
    if (typeof error.message === "string") {
      return new ApiError(error.message, reply.status, error.code ?? "unknown", error.request_id ?? requestId);
    }
  } catch {
    // not JSON: fall through to the text
  }
  const said = text.trim().slice(0, 500) || reply.statusText || "no message";
  return new ApiError(`The server answered ${reply.status}: ${said}`, reply.status, `http_${reply.status}`, requestId);
}

/** `/path?a=1` without the empty ones. */
export function query(path: string, values: Record<string, string | number | null | undefined>): string {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}
