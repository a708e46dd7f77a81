import type { ComponentChildren } from "preact";
import { type LoadedPages, useTitle } from "../hooks";
import { Loading, More, Problem } from "./common";

/** The frame of a page that lists things: title, then what is wrong or loading, and the list or what to do without one. */
export function ListPage<T>(props: {
  title: string;
  of: LoadedPages<T>;
  /** Beside the title. */
  action?: ComponentChildren;
  /** In place of an empty list. */
  empty?: ComponentChildren;
  children: (list: T[]) => ComponentChildren;
}) {
  useTitle(props.title);
  const { data, error, reload, more } = props.of;
  return (
    <>
      <div class="title">
        <h1>{props.title}</h1>
        {props.action}
      </div>
      {error && <Problem error={error} {...(!data && { retry: reload })} />}
      {!data && !error && <Loading />}
      {data && ((data.length === 0 && props.empty) || props.children(data))}
      <More more={more} />
    </>
  );
}

export const StartSearch = () => (
  <a class="button" href="/searches/new">
    Start a search
  </a>
);
