import { Pool } from 'undici';

const methods = ['GET', 'GET', 'GET', 'PUT', 'DELETE', 'HEAD'] as const;

export interface Failure {
  readonly atMs: number;
  readonly endMs: number;
  readonly method: string;
  readonly path: string;
  /** Status and body, or what broke. */
  readonly what: string;
}

/** Sends idempotent requests at a constant rate whatever becomes of them, and keeps each that is not answered as it should be. */
export class ChaosClient {
  readonly failures: Failure[] = [];
  sent = 0;
  #inFlight = 0;
  #running = false;
  #ended: (() => void) | undefined;
  readonly #pool: Pool;

  constructor(port: number, private readonly rate: number) {
    this.#pool = new Pool(`http://127.0.0.1:${port}`, { connections: 256, headersTimeout: 15_000, bodyTimeout: 15_000 });
  }

  start(): void {
    this.#running = true;
    const startedAt = performance.now();
    const from = this.sent;
    const tick = (): void => {
      if (!this.#running) return;
      const elapsed = performance.now() - startedAt;
      while (this.sent - from < (elapsed / 1_000) * this.rate) void this.#send(startedAt);
      setTimeout(tick, 2);
    };
    tick();
  }

  /** Sends no more; resolves when everything is answered. */
  async stop(): Promise<void> {
    this.#running = false;
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#ended = resolve));
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  async #send(startedAt: number): Promise<void> {
    const number = this.sent++;
    const method = methods[number % methods.length]!;
    const path = `/chaos/${number}`;
    const body = method === 'PUT' ? 'x'.repeat(number % 997) : undefined;
    const atMs = performance.now() - startedAt;
    this.#inFlight++;
    try {
      const answer = await this.#pool.request({ method, path, headers: { host: 'shop' }, ...(body !== undefined && { body }) });
      const text = await answer.body.text();
      const expected = method === 'HEAD' ? '' : `${method} ${path} ${body?.length ?? 0}`;
      if (answer.statusCode !== 200 || text !== expected) this.failures.push({ atMs, endMs: performance.now() - startedAt, method, path, what: `${answer.statusCode} ${text}` });
    } catch (error) {
      this.failures.push({ atMs, endMs: performance.now() - startedAt, method, path, what: String((error as { code?: string }).code ?? error) });
    }
    if (--this.#inFlight === 0) this.#ended?.();
  }
}
