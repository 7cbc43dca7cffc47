import { decodedPath } from '../http/decoded-path.js';
import type { HttpRequest } from '../http/message.js';
import { allHold, conditionsOf, type Condition, type Conditions } from './conditions.js';

/** What a request must look like. Everything that is given must hold. */
interface RouteMatch extends Conditions {
  /** Prefix on a segment boundary: `/orders` matches `/orders` and `/orders/7`, not `/orders2`. */
  readonly path: string;
  /** Exact host without port, or `*.suffix`; any host when absent. */
  readonly host?: string | undefined;
  readonly method?: string | readonly string[] | undefined;
}

interface Entry<T> {
  readonly value: T;
  readonly methods: ReadonlySet<string> | undefined;
  readonly conditions: readonly Condition[];
}

class Node<T> {
  readonly children = new Map<string, Node<T>>();
  readonly entries: Entry<T>[] = [];
}

/**
 * Finds the route of a request in time that grows with the depth of its path, not with the number of
 * routes: a map by host, then a tree by path segment.
 *
 * Precedence: exact host, then the longest wildcard, then no host; within a host the longest path; within a
 * path the most conditions (method, fields, cookies, query), then the order of configuration.
 */
export class RouteTable<T> {
  readonly #exact = new Map<string, Node<T>>();
  readonly #wildcards: { readonly suffix: string; readonly root: Node<T> }[] = [];
  readonly #anyHost = new Node<T>();

  add(match: RouteMatch, value: T): void {
    const entry: Entry<T> = {
      value,
      methods: match.method === undefined ? undefined : new Set([match.method].flat()),
      conditions: conditionsOf(match),
    };
    let node = this.#rootFor(match.host?.toLowerCase());
    for (const segment of decodedPath(match.path).split('/').filter((segment) => segment !== '')) {
      let child = node.children.get(segment);
      if (child === undefined) node.children.set(segment, (child = new Node()));
      node = child;
    }
    node.entries.push(entry);
    // Stable, so that equals stay in the order of configuration.
    node.entries.sort((a, b) => conditions(b) - conditions(a));
  }

  find(request: HttpRequest): T | undefined {
    const path = decodedPath(request.path);
    if (this.#exact.size > 0 || this.#wildcards.length > 0) {
      const host = hostOf(request.authority);
      const exact = this.#exact.get(host);
      const found = exact === undefined ? undefined : search(exact, path, request);
      if (found !== undefined) return found.value;
      for (const { suffix, root } of this.#wildcards) {
        const wild = host.endsWith(suffix) && host.length > suffix.length ? search(root, path, request) : undefined;
        if (wild !== undefined) return wild.value;
      }
    }
    return search(this.#anyHost, path, request)?.value;
  }

  #rootFor(host: string | undefined): Node<T> {
    if (host === undefined || host === '*') return this.#anyHost;
    if (!host.startsWith('*.')) {
      let root = this.#exact.get(host);
      if (root === undefined) this.#exact.set(host, (root = new Node()));
      return root;
    }
    const suffix = host.slice(1);
    let wildcard = this.#wildcards.find((other) => other.suffix === suffix);
    if (wildcard === undefined) {
      this.#wildcards.push((wildcard = { suffix, root: new Node() }));
      this.#wildcards.sort((a, b) => b.suffix.length - a.suffix.length);
    }
    return wildcard.root;
  }
}

function conditions(entry: Entry<unknown>): number {
  return (entry.methods === undefined ? 0 : 1) + entry.conditions.length;
}

/** The host of an authority, without its port. */
export function hostOf(authority: string): string {
  const end = authority.startsWith('[') ? authority.indexOf(']') + 1 : authority.indexOf(':');
  return end <= 0 ? authority : authority.slice(0, end);
}

/** The deepest node along the path with an entry whose conditions hold. */
function search<T>(node: Node<T>, path: string, request: HttpRequest): Entry<T> | undefined {
  return descend(node, path, request, 1) ?? firstThatHolds(node, request);
}

function descend<T>(node: Node<T>, path: string, request: HttpRequest, from: number): Entry<T> | undefined {
  if (node.children.size === 0) return undefined;
  const slash = path.indexOf('/', from);
  const child = node.children.get(slash === -1 ? path.slice(from) : path.slice(from, slash));
  if (child === undefined) return undefined;
  return (slash === -1 ? undefined : descend(child, path, request, slash + 1)) ?? firstThatHolds(child, request);
}

function firstThatHolds<T>(node: Node<T>, request: HttpRequest): Entry<T> | undefined {
  for (const entry of node.entries) {
    if ((entry.methods === undefined || entry.methods.has(request.method)) && allHold(entry.conditions, request)) return entry;
  }
  return undefined;
}
