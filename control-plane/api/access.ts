import type { FastifyRequest } from 'fastify';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../shared/clock/clock.js';
import { formatSpiffeId, parseSpiffeId, type SpiffeId } from '../../shared/identity/spiffe.js';
import { isValidAt, uriName } from '../../shared/identity/x509-name.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { PemStore } from '../../shared/tls/pem-store.js';
import type { Model } from '../model/model.js';
import type { AccessConfig, Role } from './access-config.js';
import { ApiError } from './problem.js';
import { TokenTable } from './token-table.js';

/** Who sent a request. */
export interface Caller {
  /** Of its token, or its SPIFFE name. */
  readonly name: string;
  readonly role: Role;
  /** Role proxy: the service whose sidecar it is. */
  readonly service?: string | undefined;
  /** Role proxy: whether it is a gateway. */
  readonly isGateway?: boolean;
  /** Role proxy: the only proxy that it is. */
  readonly node?: string | undefined;
  /** What its certificate says. */
  readonly identity?: string | undefined;
}

/** What a route asks for: `any` is each of the roles. */
export type Need = Role | 'any';

const allowed: Readonly<Record<Need, readonly Role[]>> = { read: ['read', 'write'], write: ['write'], proxy: ['proxy', 'write'], any: ['read', 'write', 'proxy'] };
/** Whoever asks where nobody is asked who they are: on loopback. */
const anonymous: Caller = { name: 'anonymous', role: 'write' };
const unknown: Caller = { name: 'unknown', role: 'read' };

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sent it; `unknown` until somebody has asked. */
    caller: Caller;
  }
}

interface AccessDependencies {
  readonly model: () => Model;
  /** Of the mesh. Undefined: no certificate makes its holder a proxy. */
  readonly trustDomain: string | undefined;
  /** Of which token files are read. */
  readonly files: PemStore;
  readonly logger: Logger;
  readonly clock: Pick<Clock, 'wallNow'>;
}

/** Knows callers by their token or certificate, and what each may do. */
export class Access {
  readonly #tokens: TokenTable;
  readonly #identities: ReadonlyMap<string, Role>;

  constructor(
    /** Undefined: everybody may do everything. */
    private readonly config: AccessConfig | undefined,
    private readonly dependencies: AccessDependencies,
  ) {
    const { files, logger } = dependencies;
    this.#tokens = new TokenTable(config?.tokens ?? [], files, logger);
    this.#identities = new Map(config?.identities.map(({ identity, role }) => [identity, role]));
  }

  get initialCaller(): Caller {
    return this.config === undefined ? anonymous : unknown;
  }

  /** Rejects with 401 who is not known, and with 403 who is and may not. */
  check(request: FastifyRequest, need: Need): void {
    request.caller = this.#identify(request);
    if (!allowed[need].includes(request.caller.role)) throw forbidden(`This takes the role ${allowed[need].join(' or ')}; ${request.caller.name} has ${request.caller.role}.`);
  }

  #identify(request: FastifyRequest): Caller {
    if (this.config === undefined) return anonymous;
    const { authorization } = request.headers;
    if (authorization === undefined) return this.#byCertificate(request) ?? refuse('A token or a certificate is required.');
    const token = /^bearer +([^\s]{1,4096})$/i.exec(authorization)?.[1];
    return (token === undefined ? undefined : this.#tokens.find(token)) ?? refuse('The token is not known here.', 'Bearer error="invalid_token"');
  }

  #byCertificate(request: FastifyRequest): Caller | undefined {
    const socket = request.raw.socket as Partial<TLSSocket>;
    const certificate = socket.encrypted === true ? socket.getPeerX509Certificate?.() : undefined;
    if (certificate === undefined) return undefined;
    // A resumed session has verified no certificate, and an open connection may outlive the one that it began with.
    const isBelieved = socket.authorized === true && isValidAt(certificate, this.dependencies.clock.wallNow());
    // A certificate of a workload has one URI (X509-SVID, section 2).
    const id = isBelieved ? parseSpiffeId(uriName(certificate) ?? '') : undefined;
    if (id === undefined) return refuse('The certificate is not one that is believed here, or has no SPIFFE name.');
    const identity = formatSpiffeId(id);
    const role = this.#identities.get(identity) ?? 'proxy';
    return { name: identity, identity, role, ...(role === 'proxy' && this.#ownService(id)) };
  }

  /** Below one root there may be several meshes: a workload of another has the same names, and no part in this one. */
  #ownService(id: SpiffeId): Pick<Caller, 'service' | 'isGateway'> {
    const { trustDomain, model } = this.dependencies;
    const { namespace, service } = id;
    if (id.trustDomain !== trustDomain) throw forbidden(`The certificate is of the trust domain ${id.trustDomain}, and this mesh is ${trustDomain ?? 'none'}.`);
    if (!isBound(id, model())) throw forbidden(`No Identity says that ${service} runs in namespace ${namespace}.`);
    return service === 'gateway' ? { isGateway: true } : { service };
  }
}

/** Services have no namespaces: a name of another namespace than `default` is that service's only where a resource says so. */
export function isBound({ namespace, service }: SpiffeId, { identities }: Model): boolean {
  return namespace === 'default' || identities.some((identity) => identity.service === service && identity.namespace === namespace);
}

export function forbidden(detail: string): ApiError {
  return new ApiError(403, 'forbidden', detail, { headers: { 'www-authenticate': 'Bearer error="insufficient_scope"' } });
}

function refuse(detail: string, challenge = 'Bearer'): never {
  throw new ApiError(401, 'unauthenticated', detail, { headers: { 'www-authenticate': challenge } });
}
