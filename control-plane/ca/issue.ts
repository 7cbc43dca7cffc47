import * as x509 from '@peculiar/x509';
import { isIP } from 'node:net';
import { serialNumber, type Authority } from './authority.js';

export interface Validity {
  /** Wall clock (ms). */
  readonly now: number;
  /** Life from now on (ms); less if the authority ends before. */
  readonly lifetimeMs: number;
  /** How long before now it begins (ms). */
  readonly skewMs: number;
}

export interface IssuedCertificate {
  /** PEM: the certificate, then what stands between it and the root. */
  readonly chain: string;
  readonly serial: string;
  /** Wall clock (ms). */
  readonly notAfter: number;
}

type Random = (bytes: number) => Buffer;

/** A workload's certificate (X509-SVID): one SPIFFE name and nothing else that anybody could take for a name. */
export function issueSvid(authority: Authority, trustDomain: string, name: string, publicKey: x509.PublicKey, validity: Validity, random: Random): Promise<IssuedCertificate> {
  const usages = [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth];
  return issue(authority, trustDomain, [{ type: 'url', value: name }], usages, publicKey, validity, random);
}

/** The certificate that the control plane itself serves with: DNS names and addresses, for servers alone. */
export function issueServing(authority: Authority, trustDomain: string, names: readonly string[], publicKey: x509.PublicKey, validity: Validity, random: Random): Promise<IssuedCertificate> {
  const alternatives = names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value }));
  return issue(authority, trustDomain, alternatives, [x509.ExtendedKeyUsage.serverAuth], publicKey, validity, random);
}

async function issue(authority: Authority, trustDomain: string, names: x509.JsonGeneralNames, usages: x509.ExtendedKeyUsage[], publicKey: x509.PublicKey, { now, lifetimeMs, skewMs }: Validity, random: Random): Promise<IssuedCertificate> {
  // Certificates say whole seconds.
  const notAfter = Math.floor(Math.min(now + lifetimeMs, authority.endsAt) / 1_000) * 1_000;
  if (notAfter <= now) throw new Error('the authority’s own certificate has expired');
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(random),
    // Without a common name: there are programs that take one for a host's.
    subject: [{ O: [trustDomain] }],
    issuer: authority.certificate.subjectName,
    publicKey,
    signingKey: authority.signingKey,
    signingAlgorithm: authority.signingAlgorithm,
    notBefore: new Date(now - skewMs),
    notAfter: new Date(notAfter),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages),
      new x509.SubjectAlternativeNameExtension(names),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
    ],
  });
  return { chain: `${certificate.toString('pem')}\n${authority.intermediates}`, serial: certificate.serialNumber, notAfter };
}
