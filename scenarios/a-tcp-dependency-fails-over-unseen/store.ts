import { RedisClient } from '../services/sessions/redis-client.js';

/** How long something that is on its way may take (ms). */
const patienceMs = 20_000;

/** One Redis of the shop, as the lab prepares it and watches it. */
export class Store {
  readonly #client: RedisClient;

  constructor(private readonly address: string) {
    this.#client = new RedisClient(address, 2_000);
  }

  async read(key: string): Promise<string | undefined> {
    return String((await this.#client.send('GET', key)) ?? '') || undefined;
  }

  /** Writes a value as soon as it can. */
  keep(key: string, value: string): Promise<void> {
    return this.#until('took no value', async () => (await this.#client.send('SET', key, value)) === 'OK');
  }

  /** Resolves once a key has arrived. */
  has(key: string): Promise<void> {
    return this.#until(`did not get ${key}`, async () => (await this.read(key)) !== undefined);
  }

  /**
   * Resolves once none of the readers is led here. A connection stays with the endpoint that it was made to, so
   * those that are here since an earlier outage are closed.
   */
  async isLeft(readers: readonly Pick<Store, 'read' | 'close'>[], key: string): Promise<void> {
    try {
      await this.#until('is read still', async () => {
        await this.#client.send('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        // Whose connection was closed may notice with its next read only.
        for (const reader of readers) await reader.read(key).catch(() => undefined);
        const before = await this.hits();
        const answers = await Promise.all(readers.map((reader) => reader.read(key)));
        return answers.every((answer) => answer !== undefined) && (await this.hits()) === before;
      });
    } finally {
      for (const reader of readers) reader.close();
    }
  }

  /** Reads that found something since it was started. */
  async hits(): Promise<number> {
    return Number(/^keyspace_hits:(\d+)/m.exec(String(await this.#client.send('INFO', 'stats')))?.[1] ?? 0);
  }

  /** Ends the process; its supervisor starts it again. */
  async crash(): Promise<void> {
    await this.#client.send('SHUTDOWN', 'NOSAVE').catch(() => undefined);
  }

  close(): void {
    this.#client.close();
  }

  async #until(problem: string, isSo: () => Promise<boolean>): Promise<void> {
    const until = Date.now() + patienceMs;
    while (!(await isSo().catch(() => false))) {
      if (Date.now() > until) throw new Error(`the store at ${this.address} ${problem} after ${patienceMs / 1_000} s`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
