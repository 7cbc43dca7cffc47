import { parse } from 'yaml';
import { z } from 'zod';
import { delay, type Clock, type Timer } from '../clock/clock.js';
import { endpointSchema, type EndpointConfig } from '../config/endpoints.js';
import { ConfigError, parseConfig } from '../config/load.js';
import { readFileBounded, whyUnreadable } from '../files/read-file.js';
import { Cancellation } from '../http/cancellation.js';
import type { DiscoveryListener, DiscoverySource } from './source.js';

/** How often the file is read (ms). Contents are compared: orchestrators exchange files by links, which no watcher follows. */
const pollIntervalMs = 1_000;
/** A changed file must be the same after this pause (ms): the first half of a list is often a list too. */
const settleMs = 100;

const fileSchema: z.ZodType<EndpointConfig[]> = z.array(endpointSchema);

/** Endpoints from a JSON or YAML file that somebody else writes. */
export class FileSource implements DiscoverySource {
  readonly kind = 'file';
  readonly #closing = new Cancellation();
  #last: string | undefined;
  #failure: string | undefined;
  #timer: Timer | undefined;
  #listener: DiscoveryListener | undefined;

  constructor(
    private readonly path: string,
    private readonly dependencies: { readonly clock: Clock },
  ) {}

  start(listener: DiscoveryListener): void {
    this.#listener = listener;
    void this.#poll();
  }

  close(): void {
    this.#listener = undefined;
    this.#timer?.cancel();
    this.#closing.cancel(new Error('the source was closed'));
  }

  async #poll(): Promise<void> {
    try {
      await this.#look();
    } catch (error) {
      if (this.#listener === undefined) return;
      const result = error instanceof ConfigError ? 'invalid' : 'unreadable';
      const details = error instanceof ConfigError ? error.message.split('\n') : [`${this.path} cannot be read (${whyUnreadable(error)})`];
      // The same failure, of the same contents, is told once.
      const failure = `${this.#last} ${details.join()}`;
      if (failure !== this.#failure) this.#listener.failed({ result, details });
      this.#failure = failure;
    }
    if (this.#isOpen()) this.#timer = this.dependencies.clock.after(pollIntervalMs, () => void this.#poll());
  }

  #isOpen(): boolean {
    return this.#listener !== undefined;
  }

  async #look(): Promise<void> {
    let text = (await readFileBounded(this.path)).toString();
    const isFirst = this.#last === undefined && this.#failure === undefined;
    if (text === this.#last && this.#failure === undefined) return;
    // At the start there is nothing to keep in force while a writer finishes.
    while (!isFirst) {
      await delay(this.dependencies.clock, settleMs, this.#closing);
      const again = (await readFileBounded(this.path)).toString();
      if (again === text) break;
      text = again;
    }
    this.#last = text;
    const endpoints = parseList(text, this.path);
    this.#failure = undefined;
    this.#listener?.found(endpoints);
  }
}

function parseList(text: string, path: string): EndpointConfig[] {
  let document: unknown;
  try {
    document = parse(text, { uniqueKeys: true, stringKeys: true, maxAliasCount: 100 });
  } catch (error) {
    throw new ConfigError([{ path: '', message: (error as Error).message.split('\n', 1)[0]! }], path);
  }
  try {
    return parseConfig(document, fileSchema);
  } catch (error) {
    throw error instanceof ConfigError ? new ConfigError(error.problems, path) : error;
  }
}
