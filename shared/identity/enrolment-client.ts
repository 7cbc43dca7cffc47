import { z } from 'zod';
import type { Clock } from '../clock/clock.js';
import { readFileBounded } from '../files/read-file.js';
import { HttpClient, isSuccess } from '../http-client/http-client.js';
import { certificatesIn } from './held-identity.js';

/** What a proxy proves itself with: see control-plane/ca/proof.ts. */
export type EnrolmentProof = { readonly kind: 'joinToken' | 'workload'; readonly token: string } | { readonly kind: 'renewal'; readonly jws: string };

interface EnrolmentClientOptions {
  /** Base addresses of control planes; the next is asked when one cannot be reached. */
  readonly urls: readonly string[];
  /** PEM file: the authorities that the control plane's certificate must come from; default: those that Node.js comes with. */
  readonly ca?: string | undefined;
  /** PEM: roots that are believed beside those of `ca`; asked for anew for each connection. */
  readonly bundle: () => string | undefined;
  /** Stops what is under way. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

/** The control plane has understood, and said no: asking it again changes nothing. */
export class EnrolmentRefused extends Error {
  override readonly name = 'EnrolmentRefused';
  constructor(
    readonly code: string,
    readonly detail: string,
  ) {
    super(`the control plane refuses: ${detail}`);
  }
}

interface IssuedIdentity {
  /** PEM: our certificate, and what stands between it and the root. */
  readonly certificate: string;
  /** How long it lives from now on (ms), by no clock but that of whoever made it. */
  readonly lifetimeMs: number;
  /** PEM. */
  readonly trustBundle: string;
}

export interface FetchedBundle {
  readonly pem: string;
  readonly trustDomain: string | undefined;
  readonly sequence: number;
  /** How soon to ask again (ms). */
  readonly refreshMs: number;
  readonly etag: string | undefined;
}

/** For the whole of an answer (ms). */
const timeoutMs = 10_000;
const maxAnswerBytes = 262_144;

const issuedSchema = z.object({ certificate: z.string(), lifetimeMs: z.number().positive(), trustBundle: z.string() });
const problemSchema = z.object({ code: z.string().max(64), detail: z.string().max(1_024) });
const bundleSchema = z.object({
  trust_domain: z.string().optional(),
  spiffe_sequence: z.number().default(0),
  spiffe_refresh_hint: z.number().positive().default(30),
  keys: z.array(z.looseObject({ use: z.string().optional(), x5c: z.array(z.string()).optional() })).max(64),
});

/** Speaks to the certificate authority of the mesh. What it sends is public or good once: private keys stay where they are. */
export class EnrolmentClient {
  readonly #client: HttpClient;
  /** The control plane that answered last: the others are asked after it. */
  #preferred = 0;

  constructor(private readonly options: EnrolmentClientOptions) {
    this.#client = new HttpClient(options.clock);
  }

  /** Rejects with `EnrolmentRefused`, or because nobody could be reached. */
  async certificate(csr: string, proof: EnrolmentProof): Promise<IssuedIdentity> {
    const answer = await this.#ask('/v1/certificates', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ csr, proof }) });
    return issuedSchema.parse(JSON.parse(answer.body));
  }

  /** The trust bundle, or undefined if it is still the one with this tag. */
  async bundle(etag: string | undefined): Promise<FetchedBundle | undefined> {
    const answer = await this.#ask('/v1/trust-bundle', { method: 'GET', headers: { accept: 'application/json', ...(etag !== undefined && { 'if-none-match': etag }) } });
    if (answer.status === 304) return undefined;
    const { keys, trust_domain: trustDomain, spiffe_sequence: sequence, spiffe_refresh_hint: hint } = bundleSchema.parse(JSON.parse(answer.body));
    const pem = keys
      .filter(({ use, x5c }) => use === 'x509-svid' && x5c?.length === 1)
      .map(({ x5c }) => `-----BEGIN CERTIFICATE-----\n${x5c![0]!.replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`)
      .join('');
    if (certificatesIn(pem).length === 0) throw new Error('the control plane sent an empty trust bundle');
    return { pem, trustDomain, sequence, refreshMs: hint * 1_000, etag: answer.etag };
  }

  close(): void {
    this.#client.close();
  }

  async #ask(path: string, init: { method: 'GET' | 'POST'; headers: Record<string, string>; body?: string }): Promise<{ status: number; body: string; etag: string | undefined }> {
    const { urls } = this.options;
    let failure: unknown;
    for (let tried = 0; tried < urls.length; tried++) {
      const index = (this.#preferred + tried) % urls.length;
      try {
        const answer = await this.#askOne(urls[index]!, path, init);
        this.#preferred = index;
        return answer;
      } catch (error) {
        if (error instanceof EnrolmentRefused) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  async #askOne(url: string, path: string, init: { method: 'GET' | 'POST'; headers: Record<string, string>; body?: string }): Promise<{ status: number; body: string; etag: string | undefined }> {
    const { ca, bundle, signal } = this.options;
    // A connection that is open is used again only under the same roots.
    const tls = ca === undefined ? {} : { ca: `${(await readFileBounded(ca)).toString()}\n${bundle() ?? ''}` };
    const answer = await this.#client.ask(`${url.replace(/\/$/, '')}${path}`, { ...init, tls, signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) });
    const body = await answer.text(maxAnswerBytes);
    const { status } = answer;
    if (isSuccess(status) || status === 304) return { status, body, etag: answer.headers.etag };
    if (status < 400 || status >= 500 || status === 429 || status === 408) throw new Error(`the control plane answered ${status}`);
    const problem = problemSchema.safeParse(parseJson(body));
    throw new EnrolmentRefused(problem.success ? problem.data.code : String(status), problem.success ? problem.data.detail : `it answered ${status}`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
