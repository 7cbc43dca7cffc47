import { hkdfSync, X509Certificate } from 'node:crypto';
import { type SecureContextOptions, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import type { Peer } from '../http/exchange.js';
import { PreparedFields } from '../http/headers.js';
import type { PemFiles, PemStore } from '../tls/pem-store.js';
import { readAuthorities, readPair } from '../tls/usable.js';
import type { IdentityFiles } from './identity-files.js';
import { parseSpiffeId } from './spiffe.js';
import { judge, type NamedId, type Refusal } from './verdict.js';
import { uriName } from './x509-name.js';

interface MeshIdentityDependencies {
  readonly clock: Clock;
  readonly pems: PemStore;
  /** Of which the keys of TLS session tickets are made; the same in all workers. */
  readonly ticketSecret: Uint8Array;
  /** Whether the files may be still to come, from an enrolment; default: they are given, and must be usable from the start. */
  readonly isAwaited?: boolean;
  /** Hears of each exchange of the files: of its error if the new ones cannot be used, and the old ones stay. */
  readonly onReload: (error: Error | undefined) => void;
}

/** What the files say at one time. */
interface Loaded {
  readonly own: NamedId;
  /** When the certificate ends (ms since the epoch). */
  readonly expiresAt: number;
  readonly pems: Required<Pick<SecureContextOptions, 'cert' | 'key' | 'ca'>>;
}

/** Both sides of the mesh are ours. */
const minVersion = 'TLSv1.3';
const maxPeers = 1_000;

/**
 * Who this proxy is in the mesh, and whom it believes: kept up to date with its files, with no connection dropped.
 *
 * As long as there are no files, since an enrolment is still to come, no handshake succeeds, in either direction; nothing is ever
 * sent in the clear instead. Session tickets do not outlive what they stand for: their keys are made of the bundle and of our name, so that a
 * root that was removed admits nobody on an old verification, nor are we taken for who we were, and validity is looked at for each connection.
 */
export class MeshIdentity {
  /** Goes up with each exchange of the files: what was made with another version is not used any more. */
  version = 0;
  #loaded: Loaded | undefined;
  readonly #pems: PemFiles;
  /** They live as long as we do. */
  readonly #servers = new Set<Server>();
  /** One for all connections of a workload. Bounded: when there are too many it starts anew. */
  readonly #peers = new Map<string, Peer>();

  /** Throws if files that are not awaited cannot be used. */
  constructor(
    private readonly files: IdentityFiles,
    private readonly dependencies: MeshIdentityDependencies,
  ) {
    this.#pems = dependencies.pems.open(Object.values(files) as string[], (lost) => this.#reload(lost));
    try {
      this.#loaded = this.#load();
    } catch (error) {
      if (dependencies.isAwaited !== true) {
        this.#pems.close();
        throw error;
      }
      dependencies.onReload(error as Error);
    }
  }

  /** Our own name; undefined until there is a certificate. */
  get own(): NamedId | undefined {
    return this.#loaded?.own;
  }

  /** When our certificate ends (ms since the epoch). */
  get expiresAt(): number | undefined {
    return this.#loaded?.expiresAt;
  }

  /** What a connection to another workload is made with; undefined until there is a certificate. */
  get clientOptions(): SecureContextOptions | undefined {
    return this.#loaded && { ...this.#loaded.pems, minVersion };
  }

  /** For `tls.createServer`: everybody gets through the handshake, and is then to be judged. */
  get serverOptions(): TlsOptions {
    const { pems, own } = this.#loaded ?? {};
    return {
      ...pems,
      minVersion,
      requestCert: true,
      // Node would close the connection without a word of why.
      rejectUnauthorized: false,
      ticketKeys: Buffer.from(hkdfSync('sha256', this.dependencies.ticketSecret, (pems?.ca as Buffer | undefined) ?? '', `mesh session tickets of ${own?.id}`, 48)),
      sessionIdContext: 'mesh',
      ALPNProtocols: ['http/1.1'],
    };
  }

  /** Keeps a server's certificate and bundle up to date. */
  serve(server: Server): void {
    this.#servers.add(server);
  }

  /** Who is at the other end of a connection that a server of ours has accepted, or why it is to be refused. */
  judge(socket: TLSSocket): { readonly peer: Peer } | { readonly refusal: Refusal } {
    const own = this.#loaded?.own;
    if (own === undefined) return { refusal: { reason: 'handshake', detail: 'this proxy has no certificate yet', name: undefined } };
    const failure = socket.authorized ? undefined : String(socket.authorizationError);
    const verdict = judge({ certificate: socket.getPeerX509Certificate(), failure, now: this.dependencies.clock.wallNow() }, own.trustDomain);
    return 'refusal' in verdict ? verdict : { peer: this.#peers.get(verdict.peer.id) ?? this.#remember(verdict.peer, own) };
  }

  #remember(peer: NamedId, own: NamedId): Peer {
    const known: Peer = { ...peer, forwarded: new PreparedFields([['X-Forwarded-Client-Cert', `By=${own.id};URI=${peer.id}`]]) };
    if (this.#peers.size >= maxPeers) this.#peers.clear();
    this.#peers.set(peer.id, known);
    return known;
  }

  #reload(lost: Error | undefined): void {
    try {
      if (lost !== undefined) throw lost;
      this.#loaded = this.#load();
    } catch (error) {
      // The last good ones stay; the files may be half exchanged.
      this.dependencies.onReload(error as Error);
      return;
    }
    this.version++;
    this.#peers.clear();
    for (const server of this.#servers) server.setSecureContext(this.serverOptions);
    this.dependencies.onReload(undefined);
  }

  #load(): Loaded {
    const pair = readPair(this.#pems, this.files);
    const ca = readAuthorities(this.#pems, this.files.bundle);
    const certificate = new X509Certificate(pair.cert);
    return { own: ownName(certificate), expiresAt: Date.parse(certificate.validTo), pems: { ...pair, ca } };
  }
}

/** The name in our own certificate. Throws when it has none of the mesh. */
export function ownName(certificate: X509Certificate): NamedId {
  const id = uriName(certificate);
  const parsed = id === undefined ? undefined : parseSpiffeId(id);
  if (parsed === undefined) throw new Error('the certificate has no name of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE');
  return { ...parsed, id: id! };
}
