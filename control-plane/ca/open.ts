import 'reflect-metadata';
import type { FastifyPluginAsync } from 'fastify';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../shared/clock/clock.js';
import { writeDurably } from '../../shared/files/write-durably.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import { AlwaysLeader, type Leadership } from '../sources/leadership.js';
import { FileOnceOnly, MemoryOnceOnly, type OnceOnly } from '../sources/once-only.js';
import { CertificateAuthority, type Issuance } from './certificate-authority.js';
import type { CaConfig } from './config.js';
import { certificateRoutes } from './routes.js';
import { ServingCertificate } from './serving-certificate.js';
import { fileDocument, memoryDocument, type StateDocument } from './state.js';
import type { WorkloadIdentity } from './workloads.js';

interface CertificatesOptions {
  readonly dataDir: string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Registry;
  readonly onClose: (close: () => Promise<void> | void) => void;
  /** Where several control planes run; default: this one leads. */
  readonly leadership?: Leadership | undefined;
  /** Where the authority’s state is kept; default: a file in `dataDir`, or in memory without one. */
  readonly document?: StateDocument | undefined;
  /** Where used join tokens are remembered; default as for the state. */
  readonly once?: OnceOnly | undefined;
  /** Identities among the resources, as they are now. */
  readonly identities?: (() => readonly WorkloadIdentity[]) | undefined;
  readonly onIssued?: ((issuance: Issuance) => void) | undefined;
}

export interface Certificates {
  readonly authority: CertificateAuthority;
  /** The API's part of it. */
  readonly routes: FastifyPluginAsync;
  /** What the control plane's https shows, where `ca.serve` is configured. */
  readonly serving: ServingCertificate | undefined;
}

/** Opens the mesh's certificate authority with all that belongs to it. Rejects if a file cannot be used. */
export async function openCertificates(config: CaConfig, options: CertificatesOptions): Promise<Certificates> {
  const { dataDir, clock, logger, metrics, onClose, leadership = new AlwaysLeader(), identities = () => [], onIssued } = options;
  const document = options.document ?? (dataDir === undefined ? memoryDocument() : await fileDocument(dataDir));
  const once = options.once ?? (await openOnce(dataDir, config, clock, onClose));
  const authority = await CertificateAuthority.open(config, { document, once, leadership, identities, clock, random: randomBytes, logger, onIssued });
  onClose(() => authority.close());
  if (dataDir !== undefined) onClose(await publishRoots(authority, dataDir, logger));
  const serving = config.serve && (await ServingCertificate.open(authority, config.serve.names, { clock, random: randomBytes, logger }));
  if (serving !== undefined) onClose(() => serving.close());

  const registers = [metrics];
  const issued = new Counter({ name: 'control_plane_certificates_issued_total', help: 'Requests for certificates, by result.', labelNames: ['result'], registers });
  new Gauge({ name: 'control_plane_ca_expires_at_seconds', help: 'When the authority that signs expires (Unix time); 0: none signs.', registers, collect() { this.set((authority.keeper.signing?.endsAt ?? 0) / 1_000); } });
  new Gauge({ name: 'control_plane_ca_authorities', help: 'Authorities in the trust bundle, by stage.', labelNames: ['stage'], registers, collect() { for (const stage of ['published', 'signing', 'retired'] as const) this.set({ stage }, authority.keeper.state.authorities.filter((one) => one.stage === stage).length); } });

  return { authority, serving, routes: certificateRoutes({ authority, logger, onResult: (result) => issued.inc({ result }) }) };
}

/** Keeps `DIRECTORY/ca/roots.pem` up to date, which is what operators give to proxies that speak to `ca.serve`. It holds no secret. */
async function publishRoots(authority: CertificateAuthority, dataDir: string, logger: Logger): Promise<() => Promise<void>> {
  const file = join(dataDir, 'ca', 'roots.pem');
  let writing: Promise<void> = Promise.resolve();
  const write = (): void => {
    writing = writing.then(() => writeDurably(file, authority.bundle.pem, 0o644)).catch((error: unknown) => logger.warn({ err: error }, 'the roots could not be written'));
  };
  authority.keeper.onChange(write);
  write();
  await writing;
  return () => writing;
}

async function openOnce(dataDir: string | undefined, { joinTokenMaxTtl, clockSkew }: CaConfig, clock: Clock, onClose: CertificatesOptions['onClose']): Promise<OnceOnly> {
  const limits = { longestLifeMs: joinTokenMaxTtl + clockSkew };
  if (dataDir === undefined) return new MemoryOnceOnly(clock, limits);
  const file = await FileOnceOnly.open(join(dataDir, 'ca'), clock, limits);
  onClose(() => file.close());
  return file;
}
