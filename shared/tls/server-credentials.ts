import { hkdfSync, type X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import type { Peer } from '../http/exchange.js';
import { parseSpiffeId } from '../identity/spiffe.js';
import { isValidAt, uriName } from '../identity/x509-name.js';
import type { ServerTlsConfig } from './config.js';
import { LastGood } from './last-good.js';
import type { PemStore } from './pem-store.js';
import { withoutDot } from './server-name.js';
import { readAuthorities, readPair, type Pair } from './usable.js';

interface ServerCredentialsDependencies {
  readonly clock: Pick<Clock, 'wallNow'>;
  readonly pems: PemStore;
  /** Of which the keys of TLS session tickets are made; the same in all workers. */
  readonly ticketSecret: Uint8Array;
  /** Hears of each exchange of a pair, or of the authorities: of its error if the new ones cannot be used, and the old ones stay. */
  readonly onReload: (error: Error | undefined) => void;
}

/**
 * What a listener shows its clients, and asks of them; exchanged while it listens, with no connection dropped. Each pair and the authorities are exchanged on
 * their own: one that cannot be used holds back none of the others, least of all that an authority is believed no more.
 *
 * Session tickets outlive an exchange of certificates, so that clients go on resuming. Their keys are made of a secret, of the
 * authorities that clients are verified against, and of whether they must be: a change of these makes new ones, so that nobody gets in on an old verification. The
 * validity of a client's certificate is looked at for each connection: a resumed session has verified none.
 */
export class ServerCredentials {
  #contexts: ReadonlyMap<string, SecureContext> = new Map();
  #options: TlsOptions;
  /** They live as long as the store. */
  readonly #authorities: LastGood<Buffer> | undefined;
  readonly #pair: LastGood<Pair>;
  readonly #further: readonly { readonly hosts: readonly string[]; readonly pair: LastGood<Pair> }[];
  readonly #servers = new Set<Server>();

  /** Throws if the files cannot be used. */
  constructor(
    private readonly config: ServerTlsConfig,
    private readonly dependencies: ServerCredentialsDependencies,
  ) {
    const { pems } = dependencies;
    const { clientAuth, certificates } = config;
    const kept: LastGood<unknown>[] = [];
    const keep = <T>(one: LastGood<T>): LastGood<T> => {
      kept.push(one);
      return one;
    };
    const keepPair = ({ cert, key }: { readonly cert: string; readonly key: string }): LastGood<Pair> => keep(new LastGood(pems, [cert, key], (files) => readPair(files, { cert, key }), this.#onReload));
    try {
      this.#authorities = clientAuth && keep(new LastGood(pems, [clientAuth.ca], (files) => readAuthorities(files, clientAuth.ca), this.#onReload));
      this.#pair = keepPair(config);
      this.#further = certificates.map((entry) => ({ hosts: entry.hosts, pair: keepPair(entry) }));
      this.#options = this.#build();
    } catch (error) {
      for (const one of kept) one.close();
      throw error;
    }
  }

  /** Whether a client got as far as it did although its certificate is wrong, or has ended since: where none is required, Node only takes note. */
  refuses(socket: TLSSocket): boolean {
    if (this.config.clientAuth === undefined) return false;
    const shown = socket.getPeerX509Certificate();
    return shown !== undefined && !this.#believes(socket, shown);
  }

  /** The workload that a client is, if its certificate is verified and names one. Whose names are believed is up to whoever chose `clientAuth.ca`. */
  peerOf(socket: TLSSocket): Peer | undefined {
    const shown = this.config.clientAuth && socket.getPeerX509Certificate();
    if (shown === undefined || !this.#believes(socket, shown)) return undefined;
    const id = uriName(shown);
    const parsed = id === undefined ? undefined : parseSpiffeId(id);
    return parsed && { ...parsed, id: id! };
  }

  /** For `tls.createServer`. */
  get options(): TlsOptions {
    return this.#options;
  }

  /** Keeps a server's certificates up to date. */
  serve(server: Server): void {
    this.#servers.add(server);
  }

  readonly #onReload = (error: Error | undefined): void => {
    if (error === undefined) {
      this.#options = this.#build();
      for (const server of this.#servers) server.setSecureContext(this.#options);
    }
    this.dependencies.onReload(error);
  };

  #believes(socket: TLSSocket, shown: X509Certificate): boolean {
    return socket.authorized && isValidAt(shown, this.dependencies.clock.wallNow());
  }

  #build(): TlsOptions {
    const { config } = this;
    const { ticketSecret } = this.dependencies;
    const ca = this.#authorities?.value;
    const options: TlsOptions = {
      ...this.#pair.value,
      minVersion: config.minVersion,
      ticketKeys: Buffer.from(hkdfSync('sha256', ticketSecret, ca ?? '', `session tickets${config.clientAuth?.required === true ? ' of clients with certificates' : ''}`, 48)),
      sessionIdContext: 'listener',
      ALPNProtocols: ['http/1.1'],
      SNICallback: (name, done) => done(null, this.#contextFor(withoutDot(name.toLowerCase()))),
      ...(config.clientAuth && { ca: ca!, requestCert: true, rejectUnauthorized: config.clientAuth.required }),
    };
    const contexts = new Map<string, SecureContext>();
    for (const { hosts, pair } of this.#further) {
      const context = createSecureContext({ ...options, ...pair.value });
      for (const host of hosts) contexts.set(withoutDot(host.toLowerCase()), context);
    }
    this.#contexts = contexts;
    return options;
  }

  /** Undefined is the default certificate. */
  #contextFor(name: string): SecureContext | undefined {
    return this.#contexts.get(name) ?? this.#contexts.get(`*${name.slice(Math.max(0, name.indexOf('.')))}`);
  }
}
