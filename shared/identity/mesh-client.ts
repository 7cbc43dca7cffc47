import { connect, createSecureContext, type ConnectionOptions, type PeerCertificate, type SecureContext, type TLSSocket } from 'node:tls';
import type { TlsClient } from '../tls/client-credentials.js';
import type { MeshIdentity } from './mesh-identity.js';
import { reasonOf, type Refusal } from './verdict.js';
import { maxShown, uriName } from './x509-name.js';

interface MeshClientOptions {
  /** The SPIFFE name that the endpoint must prove, to the letter. */
  readonly expected: string;
  /** Undefined where this proxy has none: then no connection is ever made. */
  readonly identity: MeshIdentity | undefined;
  /** Hears of each handshake that failed. */
  readonly onFailure: (failure: Refusal) => void;
}

/** Makes what an endpoint with a SPIFFE name is spoken to by. */
export type MeshClientFactory = (upstream: string, endpoint: string, expected: string) => TlsClient;

/** Of a proxy that has no identity: no connection is ever made, and nothing sent in the clear instead. */
export const withoutIdentity: MeshClientFactory = (_upstream, _endpoint, expected) => new MeshClient({ expected, identity: undefined, onFailure: () => {} });

const noCertificate = 'this proxy has no certificate of its own';
const wrongName = 'ERR_MESH_WRONG_NAME';
/** Trusts nobody. */
const nobody = { ca: [] };

/** Mutual TLS to one endpoint, which must prove its name before anything is sent to it. */
export class MeshClient implements TlsClient {
  #made: { readonly context: SecureContext; readonly version: number } | undefined;

  constructor(private readonly options: MeshClientOptions) {}

  get version(): number {
    return this.options.identity?.version ?? 0;
  }

  connect(options: ConnectionOptions): TLSSocket {
    const socket: TLSSocket = connect({
      ALPNProtocols: ['http/1.1'],
      ...options,
      secureContext: this.#context(),
      rejectUnauthorized: true,
      checkServerIdentity: (_name, certificate) => this.#check(certificate),
    });
    this.#watch(socket, options.socket !== undefined);
    return socket;
  }

  /** Runs once the chain is verified, and not for a resumed session: that one was verified when it was made, and its ticket is of no use to an endpoint of another name. */
  #check({ subjectaltname: subjectAltName }: Partial<PeerCertificate>): Error | undefined {
    const { expected, identity } = this.options;
    if (identity?.own === undefined) return new Error(noCertificate);
    if (uriName({ subjectAltName }) === expected) return undefined;
    return Object.assign(new Error('the certificate is for another workload'), { code: wrongName, shown: (subjectAltName ?? '').slice(0, maxShown) });
  }

  /** `isConnected`: TCP has been established, so that whatever fails is the handshake. */
  #watch(socket: TLSSocket, isConnected: boolean): void {
    socket.once('connect', () => (isConnected = true));
    const onError = (error: NodeJS.ErrnoException): void => {
      if (isConnected) this.options.onFailure(this.#explain(socket, error));
    };
    socket.once('error', onError);
    socket.once('secureConnect', () => socket.off('error', onError));
  }

  #explain(socket: TLSSocket, error: NodeJS.ErrnoException): Refusal {
    const { code = error.message } = error;
    const failure = socket.authorizationError as unknown as string | null | undefined;
    if (code === wrongName) return { reason: 'wrong_name', detail: error.message, name: (error as { shown?: string }).shown };
    // The socket is gone, and with it what it was shown.
    const name = undefined;
    if (this.options.identity?.own === undefined) return { reason: 'handshake', detail: noCertificate, name };
    if (failure === null || failure === undefined) return { reason: 'handshake', detail: code, name };
    return { reason: reasonOf(code), detail: code, name };
  }

  #context(): SecureContext {
    const { version } = this;
    if (this.#made?.version !== version) this.#made = { context: createSecureContext(this.options.identity?.clientOptions ?? nobody), version };
    return this.#made.context;
  }
}
