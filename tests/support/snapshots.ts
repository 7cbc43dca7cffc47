import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { readBody } from './origin.js';

interface Verdict {
  readonly version: string;
  readonly accepted: boolean;
  readonly reason?: string;
}

/** What a control plane is to its proxies: whoever connects gets the newest snapshot, and says what became of it. */
export class SnapshotSource {
  #version = 0;
  #config: object = {};
  readonly #streams = new Set<ServerResponse>();
  #heard: (verdict: Verdict) => void = () => {};
  readonly #server = createServer((request, response) => {
    if (request.url!.includes('/stream')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      this.#streams.add(response);
      response.on('close', () => this.#streams.delete(response));
      this.#write(response);
      return;
    }
    void readBody(request).then((body) => {
      response.end('{}');
      if (request.url!.endsWith('/status')) this.#heard(JSON.parse(body) as Verdict);
    });
  });

  private constructor() {}

  static async start(context: Pick<TestContext, 'after'>, config: object): Promise<SnapshotSource> {
    const source = new SnapshotSource();
    source.#config = config;
    await new Promise<void>((resolve) => source.#server.listen(0, '127.0.0.1', resolve));
    context.after(() => {
      source.#server.close();
      source.#server.closeAllConnections();
    });
    return source;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Sends another configuration to one proxy; resolves with what it says of it. */
  send(config: object): Promise<Verdict> {
    this.#config = config;
    const version = String(++this.#version);
    const verdict = new Promise<Verdict>((resolve) => {
      this.#heard = (heard) => heard.version === version && resolve(heard);
    });
    for (const stream of this.#streams) this.#write(stream);
    return verdict;
  }

  #write(stream: ServerResponse): void {
    stream.write(`event: snapshot\ndata: ${JSON.stringify({ version: String(this.#version), config: this.#config })}\n\n`);
  }
}
