import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type ApiError, setToken } from "../api/client";
import { short } from "../format";

export function Problem({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="problem" role="alert">
      <p>{error.message}</p>
      <p class="quiet">
        <code>{error.code}</code>
        {error.requestId && (
          <>
            {" "}
            · request <code>{error.requestId}</code>
          </>
        )}
      </p>
      {error.status === 401 && <TokenForm />}
      {retry && <button onClick={retry}>Try again</button>}
    </div>
  );
}

function TokenForm() {
  const [token, set] = useState("");
  const save = (event: Event) => {
    event.preventDefault();
    setToken(token);
    window.location.reload();
  };
  return (
    <form class="line" onSubmit={save}>
      <label>
        Token
        <input type="password" autocomplete="off" value={token} onInput={(event) => set(event.currentTarget.value)} />
      </label>
      <button type="submit">Use it</button>
    </form>
  );
}

export const Loading = () => (
  <p class="quiet" role="status">
    Loading…
  </p>
);

/** A line for the shell, with a button that copies it. */
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <code>{text}</code>
      <Copy text={text} />
    </div>
  );
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button class="small" onClick={() => void copy()} aria-live="polite">
      {done ? "Copied" : label}
    </button>
  );
}

export function Empty({ title, children, command }: { title: string; children?: ComponentChildren; command: string }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
      <Command text={command} />
    </div>
  );
}

export const State = ({ state }: { state: string }) => <span class={`state ${state}`}>{state}</span>;

export const StructureLink = ({ id }: { id: string }) => (
  <a class="id" href={`/structures/${id}`} title={id}>
    {short(id)}
  </a>
);

export const JobLink = ({ id }: { id: string }) => (
  <a class="id" href={`/jobs/${id}`} title={id}>
    {id.length > 13 ? `…${id.slice(-10)}` : id}
  </a>
);

export function Facts({ of }: { of: [name: string, value: ComponentChildren][] }) {
  const known = of.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return (
    <dl class="facts">
      {known.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Choice<T extends string>(props: {
  label: string;
  value: T;
  of: readonly (readonly [value: T, label: string])[];
  onChange: (value: T) => void;
}) {
  return (
    <div class="choice" role="group" aria-label={props.label}>
      {props.of.map(([value, label]) => (
        <button key={value} aria-pressed={value === props.value} onClick={() => props.onChange(value)}>
          {label}
        </button>
      ))}
    </div>
  );
}

export const Wide = ({ children }: { children: ComponentChildren }) => <div class="wide">{children}</div>;

export function More({ more }: { more: (() => void) | null }) {
  return more && <button onClick={more}>Load more</button>;
}
