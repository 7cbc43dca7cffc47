import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { lookup } from 'node:dns/promises';
import { pricingDefinition, type Price } from './definition.js';

export interface CallOptions {
  readonly fields?: Readonly<Record<string, string>>;
  /** The call is given up after so long (ms); the server is told. */
  readonly timeoutMs: number;
  readonly gone?: AbortSignal | undefined;
}

/** A call that did not end with OK; `code` is the name of the status, such as UNAVAILABLE. */
export class CallFailure extends Error {
  constructor(readonly code: string) {
    super(`the call ended with ${code}`);
  }
}

/**
 * A client of the pricing service as grpc-js makes them: one channel, which takes the first of its addresses that it can
 * connect to and stays there for as long as the connection lives (`pick_first`, gRPC's default).
 */
export class PricingClient {
  readonly #definition = pricingDefinition();
  #client: Promise<Client> | undefined;

  /** `addresses`: host:port of every instance that is known. `authority`: whom calls are for, where the address is a proxy's. */
  constructor(
    private readonly addresses: readonly string[],
    private readonly authority?: string,
  ) {}

  async quote(sku: string, options: CallOptions): Promise<Price> {
    const { path, requestSerialize, responseDeserialize } = this.#definition.Quote;
    const client = await this.#connected();
    return new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { sku }, metadataOf(options), { deadline: Date.now() + options.timeoutMs }, (error, answer) =>
        error === null ? resolve(answer!) : reject(failureOf(error)),
      );
      options.gone?.addEventListener('abort', () => call.cancel(), { once: true });
    });
  }

  async scale(sku: string, steps: number, options: CallOptions): Promise<Price[]> {
    const { path, requestSerialize, responseDeserialize } = this.#definition.Scale;
    const call = (await this.#connected()).makeServerStreamRequest(path, requestSerialize, responseDeserialize, { sku, steps }, metadataOf(options), { deadline: Date.now() + options.timeoutMs });
    options.gone?.addEventListener('abort', () => call.cancel(), { once: true });
    return new Promise((resolve, reject) => {
      const prices: Price[] = [];
      call.on('data', (price: Price) => prices.push(price));
      call.on('error', (error: ServiceError) => reject(failureOf(error)));
      call.on('end', () => resolve(prices));
    });
  }

  async close(): Promise<void> {
    (await this.#client?.catch(() => undefined))?.close();
  }

  #connected(): Promise<Client> {
    this.#client ??= this.#connect().catch((error: unknown) => {
      this.#client = undefined;
      throw new CallFailure(error instanceof Error && 'code' in error ? String(error.code) : 'UNAVAILABLE');
    });
    return this.#client;
  }

  async #connect(): Promise<Client> {
    // grpc-js takes several addresses in one target as numbers alone.
    const numeric = await Promise.all(
      this.addresses.map(async (address) => {
        const at = address.lastIndexOf(':');
        return (await lookup(address.slice(0, at), { family: 4 })).address + address.slice(at);
      }),
    );
    return new Client(`ipv4:${numeric.join(',')}`, credentials.createInsecure(), {
      'grpc.default_authority': this.authority ?? this.addresses[0]!,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 500,
    });
  }
}

function metadataOf({ fields = {} }: CallOptions): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
  return metadata;
}

function failureOf({ code }: ServiceError): CallFailure {
  return new CallFailure(status[code]);
}
