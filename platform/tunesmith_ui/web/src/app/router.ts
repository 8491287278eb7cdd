// Addresses of pages: behind the `#`, so that they survive a reload below any path and need nothing of the server.
import { useSyncExternalStore } from "react";

export type Route = { parts: string[]; query: URLSearchParams };

function listen(changed: () => void): () => void {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
}

export function routeOf(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { parts, query: new URLSearchParams(query) };
}

export function useRoute(): Route {
  return routeOf(useSyncExternalStore(listen, () => window.location.hash));
}

export function hrefOf(parts: string[], query?: Record<string, string>): string {
  const tail = query && Object.keys(query).length ? `?${new URLSearchParams(query)}` : "";
  return `#/${parts.map(encodeURIComponent).join("/")}${tail}`;
}

export function go(parts: string[], query?: Record<string, string>, isReplaced = false): void {
  const href = hrefOf(parts, query);
  if (isReplaced) {
    window.history.replaceState(null, "", href);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else window.location.hash = href;
}

/** Go on from a page to a more exact address, unless the user has left it meanwhile. */
export function goOn(from: string, parts: string[]): void {
  if (routeOf(window.location.hash).parts[0] === from) go(parts, undefined, true);
}
