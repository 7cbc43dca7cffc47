import type { FastifyInstance } from 'fastify';
import { randomBytes } from 'node:crypto';
import { Gauge } from 'prom-client';
import type { Server as TlsServer, TlsOptions } from 'node:tls';
import type { ServerTlsConfig } from '../../shared/tls/config.js';
import { PemStore } from '../../shared/tls/pem-store.js';
import { ServerCredentials } from '../../shared/tls/server-credentials.js';
import type { Certificates } from '../ca/open.js';
import type { AccessConfig } from './access-config.js';
import { Access } from './access.js';
import { AuditLog, type AuditConfig } from './audit-log.js';
import type { ApiContext } from './context.js';
import { createApi } from './server.js';

interface ApiServerOptions extends ApiContext {
  readonly listen: { readonly host: string; readonly port: number; readonly tls?: ServerTlsConfig | undefined };
  readonly access: AccessConfig | undefined;
  readonly audit: AuditConfig;
  readonly version: string;
  readonly certificates?: Certificates | undefined;
}

/** The API with all that stands around it: certificates and token files that are read again when they change, and the audit log. Does not listen yet. */
export async function openApiServer({ listen, access: accessConfig, audit: auditConfig, version, certificates, ...context }: ApiServerOptions): Promise<{ api: FastifyInstance; close: () => Promise<void> }> {
  const { logger, clock, store, trustDomain } = context;
  const files = new PemStore(clock);
  const credentials =
    listen.tls &&
    new ServerCredentials(listen.tls, {
      clock,
      pems: files,
      ticketSecret: randomBytes(32),
      onReload: (error) =>
        error === undefined ? logger.info('the certificates of the API were exchanged') : logger.error({ err: error }, 'the new certificates of the API cannot be used; the old ones stay'),
    });
  const access = new Access(accessConfig, { model: () => store.model, trustDomain, files, logger, clock });
  const audit = new AuditLog(auditConfig, clock, logger);
  new Gauge({ name: 'control_plane_audit_writable', help: '1 while the audit log can be written; 0: changes are refused.', registers: [context.metrics], collect() { this.set(audit.isWritten ? 1 : 0); } });
  if (accessConfig === undefined) logger.warn('there is no access control: everybody on this machine may do everything');
  const api = await createApi({ ...context, access, audit, version, certificates, https: credentials?.options ?? (certificates && meshOptions(certificates)), isOpen: accessConfig === undefined });
  if (credentials !== undefined) credentials.serve(api.server as unknown as TlsServer);
  else if (certificates?.serving !== undefined) {
    const renew = (): void => (api.server as unknown as TlsServer).setSecureContext(meshOptions(certificates)!);
    certificates.serving.onChange(renew);
    // Callers are verified against the roots as they are now.
    certificates.authority.keeper.onChange(renew);
  }
  return {
    api,
    async close() {
      await api.close();
      files.close();
      audit.close();
    },
  };
}

/** https with a certificate of the mesh's own authority: workloads may show theirs, and need not, since a certificate is what they may come for. */
function meshOptions({ authority, serving }: Certificates): TlsOptions | undefined {
  return serving && { ...serving.pair, ca: authority.bundle.pem, requestCert: true, rejectUnauthorized: false };
}
