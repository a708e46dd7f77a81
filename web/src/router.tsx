// Links: every view has an address of its own, and its settings are in the query.

import { useEffect, useState } from "preact/hooks";

const CHANGED = "s3delta:navigate";

export interface Location {
  path: string;
  search: URLSearchParams;
}

function read(): Location {
  return { path: window.location.pathname, search: new URLSearchParams(window.location.search) };
}

let now = read();
let waiting: ReturnType<typeof setTimeout> | undefined;

/** Goes to a view; `replace` changes the address of this one, soon: browsers refuse a slider's hundred changes a second. */
export function navigate(to: string, { replace = false } = {}): void {
  const target = new URL(to, window.location.href);
  now = { path: target.pathname, search: target.searchParams };
  clearTimeout(waiting);
  if (replace) waiting = setTimeout(() => window.history.replaceState(null, "", to), 200);
  else window.history.pushState(null, "", to);
  window.dispatchEvent(new Event(CHANGED));
}

export function useLocation(): Location {
  const [location, setLocation] = useState(now);
  useEffect(() => {
    const changed = () => setLocation(now);
    const back = () => {
      clearTimeout(waiting);
      now = read();
      setLocation(now);
    };
    changed();
    window.addEventListener("popstate", back);
    window.addEventListener(CHANGED, changed);
    return () => {
      window.removeEventListener("popstate", back);
      window.removeEventListener(CHANGED, changed);
    };
  }, []);
  return location;
}

/** One setting of the view, kept in the address; an empty one leaves it. */
export function useSetting(name: string): [string, (value: string) => void] {
  const { search } = useLocation();
  const set = (value: string) => {
    const next = new URLSearchParams(now.search);
    if (value) next.set(name, value);
    else next.delete(name);
    const text = next.toString();
    navigate(now.path + (text ? `?${text}` : ""), { replace: true });
  };
  return [search.get(name) ?? "", set];
}

/** Lets plain clicks on the page's own links change the view without loading the page again. */
export function takeLinks(event: MouseEvent): void {
  const link = (event.target as Element).closest?.("a");
  const modified = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0;
  if (!link || modified || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
  if (link.getAttribute("href")?.startsWith("#")) return;
  if (link.origin !== window.location.origin || link.pathname.startsWith("/v1/")) return;
  if (/^\/(healthz|readyz|metrics|docs|openapi\.json)/.test(link.pathname)) return;
  event.preventDefault();
  const moved = link.pathname !== now.path;
  navigate(link.pathname + link.search);
  if (moved) {
    window.scrollTo(0, 0);
    document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true });
  }
}
