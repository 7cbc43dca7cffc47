import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';
import { portIn, TestProcess } from './process.js';

interface AnsweredChange {
  readonly kind: string;
  readonly name: string;
  readonly action: string;
  readonly before?: object;
  readonly after?: object;
}

/** What the API answers with, taken together: each test asserts the part it asks for. */
export interface AnswerBody {
  readonly version: number;
  readonly dryRun?: true;
  readonly action: string;
  readonly changes: readonly AnsweredChange[];
  readonly items: readonly { readonly name: string; readonly version: number; readonly at: string; readonly by: string; readonly action: string; readonly changes: readonly AnsweredChange[] }[];
  readonly resources: readonly object[];
  readonly instances: readonly { readonly service: string; readonly instance: string; readonly identity?: string }[];
  readonly status: number;
  readonly code: string;
  readonly problems: readonly { readonly path: string; readonly message: string }[];
  readonly current: { readonly version: number; readonly resource?: object };
  readonly oldest: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Parsed, where it is JSON. */
  readonly body: AnswerBody;
  readonly text: string;
}

/** A line of the audit log. */
interface AuditedRequest {
  readonly by: string;
  readonly what: string;
  readonly outcome: string;
  readonly moreChanges?: number;
}

interface AskOptions {
  readonly token?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Files of a client certificate. */
  readonly certificate?: { readonly cert: string; readonly key: string };
}

interface StartOptions {
  /** PEM file: the authority of its certificate, where it speaks TLS. */
  readonly ca?: string;
  readonly port?: number;
}

/** A control plane as its user would start it, on a free port of loopback. */
export class TestControlPlane {
  readonly #agents = new Set<Agent>();

  private constructor(
    readonly process: TestProcess,
    readonly port: number,
    readonly url: string,
    private readonly ca: string | undefined,
  ) {}

  /** Resolves once it is ready. */
  static async start(config: object = {}, { ca, port = 0 }: StartOptions = {}): Promise<TestControlPlane> {
    const { listen, ...rest } = config as { listen?: { tls?: object } };
    const process = new TestProcess('control-plane/main.js', { listen: { host: '127.0.0.1', port, ...listen }, ...rest });
    const taken = portIn(await process.logged('ready'), 'listen');
    return new TestControlPlane(process, taken, `${listen?.tls === undefined ? 'http' : 'https'}://127.0.0.1:${taken}`, ca);
  }

  /** Sends a request, over a connection of its own. A body is sent as JSON; text as it is, with the content type that `headers` say. */
  async ask(method: string, path: string, body?: unknown, { token, headers = {}, certificate }: AskOptions = {}): Promise<Answer> {
    const agent = new Agent({
      connect: { ...(this.ca !== undefined && { ca: readFileSync(this.ca) }), ...(certificate && { cert: readFileSync(certificate.cert), key: readFileSync(certificate.key) }) },
    });
    this.#agents.add(agent);
    try {
      const answer = await request(this.url + path, {
        method: method as 'GET',
        dispatcher: agent,
        headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...(token !== undefined && { authorization: `Bearer ${token}` }), ...headers },
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await answer.body.text();
      const isJson = /json/.test(String(answer.headers['content-type']));
      return { status: answer.statusCode, headers: answer.headers as Record<string, string>, text, body: isJson && text !== '' ? (JSON.parse(text) as AnswerBody) : (undefined as unknown as AnswerBody) };
    } finally {
      this.#agents.delete(agent);
      await agent.destroy();
    }
  }

  /** Lines of the audit log among those of the process. */
  get audited(): AuditedRequest[] {
    return this.process.stderr
      .split('\n')
      .filter((line) => line.includes('"msg":"audit"') && line.endsWith('}'))
      .map((line) => (JSON.parse(line) as { audit: AuditedRequest }).audit);
  }

  async stop(): ReturnType<TestProcess['stop']> {
    await Promise.all([...this.#agents].map((agent) => agent.destroy()));
    return this.process.stop();
  }
}

export function service(name: string, ...endpoints: string[]): object {
  return { kind: 'Service', name, ...(endpoints.length > 0 && { endpoints }) };
}

export function route(name: string, to: string): object {
  return { kind: 'Route', name, service: to };
}

export function quota(name: string, to: string, max = 10): object {
  return { kind: 'Policy', name, placement: 'ambassador', target: { services: [to] }, spec: { rateLimit: { max, timeWindow: '60s' } } };
}
