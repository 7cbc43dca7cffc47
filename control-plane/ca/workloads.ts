import { decodeJwt, type JWTPayload } from 'jose';
import type { Clock } from '../../shared/clock/clock.js';
import { jwtSchema } from '../../shared/config/policies.js';
import { parseSpiffeId, formatSpiffeId, type SpiffeId } from '../../shared/identity/spiffe.js';
import { fetchJson, KeysUnavailable, localKeySet, RemoteKeySet, verifyToken, type KeySet } from '../../shared/policy/jwt/jwks.js';
import type { Proven } from './proof.js';
import { Refusal } from './refusal.js';
import type { WorkloadIssuerConfig } from './workloads-config.js';

/** A workload that is known by a token of the platform's, as a resource says it. */
export interface WorkloadIdentity {
  readonly service: string;
  readonly namespace?: string | undefined;
  readonly workload: { readonly issuer: string; readonly subject: string; readonly audience?: string | undefined };
}

interface WorkloadsOptions {
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly skewMs: number;
  /** Identities among the resources, as they are now. Their issuers must be configured: that is where keys come from. */
  readonly identities: () => readonly WorkloadIdentity[];
  readonly fetchJson?: typeof fetchJson;
}

interface Issuer {
  readonly config: WorkloadIssuerConfig;
  readonly keys: KeySet;
  readonly template: RegExp | undefined;
}

/** JWTs of platforms as proof of which workload somebody is. Rejects if a key file cannot be read. */
export async function openWorkloads(configs: readonly WorkloadIssuerConfig[], options: WorkloadsOptions): Promise<{ verify(token: string): Promise<Proven> }> {
  const issuers = new Map<string, Issuer>();
  for (const config of configs) issuers.set(config.issuer, { config, keys: await keysOf(config, options), template: config.template === undefined ? undefined : compile(config.template) });

  async function verify(token: string): Promise<Proven> {
    const issuer = issuers.get(issuerOf(token));
    if (issuer === undefined) throw new Refusal('proof_invalid', 'The workload token is of an issuer that is not configured.');
    const payload = await verified(token, issuer, options);
    const name = nameFor(payload, issuer, options);
    return { name, evidence: `workload token of ${payload.sub!}` };
  }
  return { verify };
}

function issuerOf(token: string): string {
  try {
    return decodeJwt(token).iss ?? '';
  } catch {
    throw new Refusal('proof_invalid', 'The workload token is no JWT.');
  }
}

async function verified(token: string, { config, keys }: Issuer, { clock, skewMs }: WorkloadsOptions): Promise<JWTPayload> {
  try {
    const { payload } = await verifyToken(token, keys, { issuer: config.issuer, algorithms: config.algorithms, requiredClaims: ['exp', 'sub', 'aud'], clockTolerance: skewMs / 1_000, currentDate: new Date(clock.wallNow()) });
    return payload;
  } catch (error) {
    if (error instanceof KeysUnavailable) throw new Refusal('keys_unavailable');
    const { code, claim } = error as { code?: unknown; claim?: unknown };
    if (code === 'ERR_JWT_EXPIRED' || claim === 'nbf') throw new Refusal('proof_expired', 'The workload token has expired, or is not valid yet.');
    throw new Refusal('proof_invalid', 'The workload token’s signature or claims are wrong.');
  }
}

/** Resources go before the table, and the table before the template. Each takes its own audience. */
function nameFor({ iss, sub, aud }: JWTPayload, { config, template }: Issuer, { trustDomain, identities }: WorkloadsOptions): SpiffeId {
  const audiences = new Set(typeof aud === 'string' ? [aud] : aud);
  const usual = [config.audience].flat();
  const isFor = (wanted: readonly string[]): boolean => wanted.some((audience) => audiences.has(audience));
  const resource = identities().find(({ workload }) => workload.issuer === iss && workload.subject === sub && isFor(workload.audience === undefined ? usual : [workload.audience]));
  if (resource !== undefined) return checked({ trustDomain, namespace: resource.namespace ?? 'default', service: resource.service });
  if (!isFor(usual)) throw new Refusal('proof_invalid', 'The workload token is for another audience.');
  const entry = Object.hasOwn(config.subjects, sub!) ? config.subjects[sub!] : undefined;
  if (entry !== undefined) return checked({ trustDomain, ...entry });
  const match = template?.exec(sub!);
  if (match == null) throw new Refusal('proof_invalid', 'The workload token’s subject is not that of any service.');
  return checked({ trustDomain, namespace: match.groups!['namespace'] ?? 'default', service: match.groups!['service']! });
}

function checked(name: SpiffeId): SpiffeId {
  if (parseSpiffeId(formatSpiffeId(name)) === undefined) throw new Refusal('proof_invalid', 'The workload token’s subject makes no name.');
  return name;
}

/** `{namespace}` and `{service}` stand for one part of a name each; all else for itself. */
function compile(template: string): RegExp {
  const pattern = template.split(/(\{namespace\}|\{service\})/).map((part) => (part === '{namespace}' || part === '{service}' ? `(?<${part.slice(1, -1)}>[a-z0-9-]{1,63})` : part.replace(/[^\w]/g, '\\$&')));
  return new RegExp(`^${pattern.join('')}$`);
}

async function keysOf({ issuer, audience, jwks, jwksUri, fetchTimeout }: WorkloadIssuerConfig, options: WorkloadsOptions): Promise<KeySet> {
  if (jwksUri === undefined) return localKeySet(jwks!);
  const config = jwtSchema.parse({ issuer, audience, jwksUri, fetchTimeout });
  return new RemoteKeySet({ ...config, jwksUri }, { clock: options.clock, fetchJson: options.fetchJson ?? fetchJson, onEvent: undefined });
}
