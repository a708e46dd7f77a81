import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, query } from "./api/client";
import type { Page } from "./api/types";

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  reload: () => void;
}

/** Loads `path`; what was shown stays until the new answer comes. `every` (ms) loads it again and again. */
export function useLoad<T>(path: string | null, every = 0): Loaded<T> {
  const [shown, setShown] = useState<{ path: string | null; data: T | null; error: ApiError | null }>({
    path: null,
    data: null,
    error: null,
  });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (path === null) return;
    const stop = new AbortController();
    const load = () =>
      get<T>(path, stop.signal).then(
        (data) => setShown({ path, data, error: null }),
        (error: ApiError) => {
          if (!stop.signal.aborted) setShown((old) => ({ path, data: old.path === path ? old.data : null, error }));
        },
      );
    void load();
    const timer = every > 0 ? setInterval(() => document.hidden || void load(), every) : 0;
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [path, turn, every]);
  const mine = shown.path === path;
  const reload = useCallback(() => setTurn((old) => old + 1), []);
  return { data: mine ? shown.data : null, error: mine ? shown.error : null, reload };
}

export interface LoadedPages<T> extends Loaded<T[]> {
  more: (() => void) | null;
}

/** Loads a list page by page. */
export function usePages<T>(path: string, filter: Record<string, string | null> = {}, every = 0): LoadedPages<T> {
  const base = query(path, { ...filter, limit: 100 });
  const first = useLoad<Page<T>>(base, every);
  const [rest, setRest] = useState<{ base: string; data: T[]; next: string | null; error: ApiError | null } | null>(null);
  const mine = rest?.base === base ? rest : null;
  const next = mine ? mine.next : (first.data?.next_cursor ?? null);
  const more = () =>
    void get<Page<T>>(query(path, { ...filter, limit: 100, cursor: next })).then(
      (page) => setRest({ base, data: [...(mine?.data ?? []), ...page.data], next: page.next_cursor ?? null, error: null }),
      (error: ApiError) => setRest({ base, data: mine?.data ?? [], next, error }),
    );
  return {
    data: first.data && [...first.data.data, ...(mine?.data ?? [])],
    error: first.error ?? mine?.error ?? null,
    reload: first.reload,
    more: next ? more : null,
  };
}

export function useMedia(media: string): boolean {
  const [matches, setMatches] = useState(() => window.matchMedia(media).matches);
  useEffect(() => {
    const list = window.matchMedia(media);
    const update = () => setMatches(list.matches);
    list.addEventListener("change", update);
    return () => list.removeEventListener("change", update);
  }, [media]);
  return matches;
}

export const useDark = (): boolean => useMedia("(prefers-color-scheme: dark)");

/** Width of an element's content, in CSS pixels. */
export function useWidth<E extends HTMLElement>(): [{ current: E | null }, number] {
  const ref = useRef<E | null>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    if (ref.current) observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · s3delta` : "s3delta";
  }, [title]);
}
