import { createHash } from 'node:crypto';
import type { Model } from '../model/model.js';
import type { InstanceSource } from '../sources/instances.js';
import { compile, type MadeParts, type Proxy } from './compile.js';
import { sourcesOf, type MadeSettings } from './sources.js';

/** What is compiled from. */
export interface Truth {
  readonly model: Model;
  /** Nothing was ever stored. */
  readonly isBlank: boolean;
}

/** A snapshot as it goes out: the whole event, for everybody it is the same for. */
export interface CompiledSnapshot {
  readonly version: string;
  readonly event: Buffer;
}

/** What snapshots of the same truth have in common. */
export class Round {
  readonly parts: MadeParts = new Map();
  readonly settings: MadeSettings = new WeakMap();
  readonly #texts = new WeakMap<object, string>();

  textOf(part: object): string {
    let text = this.#texts.get(part);
    if (text === undefined) this.#texts.set(part, (text = JSON.stringify(part)));
    return text;
  }
}

/** Proxies with the same key get the same snapshot. */
export function snapshotKey({ kind, service, hasIdentity }: Proxy): string {
  return `${kind} ${service ?? ''} ${hasIdentity === true}`;
}

/**
 * The snapshot of a proxy (shared/control/snapshot.ts says what is in it): its document, where the parts come from, and how far to
 * believe that an upstream has lost endpoints. Equal input gives equal bytes.
 */
export function compileSnapshot({ model, isBlank }: Truth, { endpoints, standing }: Pick<InstanceSource, 'endpoints' | 'standing'>, proxy: Proxy, round = new Round()): CompiledSnapshot {
  const { routes, upstreams, ...config } = compile(model, endpoints, proxy, round.parts) as { routes?: object[]; upstreams: Record<string, { endpoints: unknown[] }> };
  const fixed = new Set(model.services.filter((service) => service.endpoints !== undefined).map(({ name }) => name));
  const partial: Record<string, readonly string[]> = {};
  const vacated: string[] = [];
  for (const [name, upstream] of Object.entries(upstreams)) {
    const how = fixed.has(name) ? undefined : standing?.(name);
    if (how?.state === 'gathering') partial[name] = how.gone;
    // Fixed ones are what somebody wrote; and where all were left out by a rule, that is meant too.
    else if (upstream.endpoints.length === 0 && (fixed.has(name) || how?.state === 'vacated' || endpoints(name).length > 0)) vacated.push(name);
  }
  // Routes and upstreams are most of it, and the same for nearly everybody: their text is made once.
  const texts = [
    ...Object.entries(config).map(([key, part]) => `${JSON.stringify(key)}:${JSON.stringify(part)}`),
    ...(routes === undefined ? [] : [`"routes":[${routes.map((route) => round.textOf(route)).join()}]`]),
    `"upstreams":{${Object.entries(upstreams).map(([name, upstream]) => `${JSON.stringify(name)}:${round.textOf(upstream)}`).join()}}`,
  ];
  const beside = JSON.stringify({
    sources: sourcesOf(model, proxy, { ...config, ...(routes && { routes }), upstreams }, round.settings),
    ...(Object.keys(partial).length > 0 && { partial }),
    ...(vacated.length > 0 && { vacated }),
    ...(isBlank && { blank: true }),
  });
  const rest = `{"config":{${texts.join()}},${beside.slice(1)}`;
  const version = createHash('sha256').update(rest).digest('base64url').slice(0, 16);
  return { version, event: Buffer.from(`event: snapshot\nid: ${version}\ndata: {"version":"${version}",${rest.slice(1)}\n\n`) };
}
