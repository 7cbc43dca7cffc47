import * as x509 from '@peculiar/x509';
import { createHash, createPrivateKey, hkdfSync, webcrypto, X509Certificate, type KeyObject } from 'node:crypto';
import { signingAlgorithmOf, type SignatureAlgorithm } from './signing-algorithm.js';

/** Everything an authority consists of, as it is kept. The key makes this a secret. */
interface AuthorityMaterial {
  /** PEM: the certificate that signs, then those between it and the root. */
  readonly chain: string;
  /** PEM. The same as the chain where the root signs itself. */
  readonly root: string;
  /** PEM, PKCS #8. */
  readonly key: string;
}

/** A key that signs certificates, and the certificates that vouch for it. */
export class Authority {
  private constructor(
    readonly material: AuthorityMaterial,
    /** Of its certificate and root. */
    readonly id: string,
    readonly certificate: x509.X509Certificate,
    readonly root: X509Certificate,
    readonly signingKey: webcrypto.CryptoKey,
    readonly signingAlgorithm: SignatureAlgorithm,
    private readonly key: KeyObject,
    /** PEM: what a leaf is sent with, so that whoever knows the root alone can verify it. */
    readonly intermediates: string,
    /** Wall clock (ms): the first of its certificates ends. */
    readonly endsAt: number,
  ) {}

  /** A root of our own. */
  static async createRoot({ trustDomain, now, lifetimeMs, skewMs, random }: { trustDomain: string; now: number; lifetimeMs: number; skewMs: number; random: (bytes: number) => Buffer }): Promise<Authority> {
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serialNumber(random),
      name: [{ O: [trustDomain] }, { CN: [`Mesh root ${random(4).toString('hex')}`] }],
      keys,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      notBefore: new Date(now - skewMs),
      notAfter: new Date(now + lifetimeMs),
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
        // X509-SVID, section 3.1: a signing certificate should name its trust domain, and has no path.
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
      ],
    });
    const pem = `${certificate.toString('pem')}\n`;
    const key = x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
    return Authority.open({ chain: pem, root: pem, key: `${key}\n` });
  }

  /** Rejects with what is wrong, in terms of the parts' names in the configuration, if they do not make an authority. */
  static async open({ chain, root, key }: AuthorityMaterial): Promise<Authority> {
    const rootCertificate = read('root', root)[0]!;
    const certificates = read('issuer.cert', chain).filter(({ raw }, index) => index === 0 || !raw.equals(rootCertificate.raw));
    const privateKey = readKey(key);
    checkChain(certificates, rootCertificate, privateKey);
    const { algorithm, importParameters } = signingAlgorithmOf(privateKey);
    const der = privateKey.export({ type: 'pkcs8', format: 'der' });
    const signingKey = await webcrypto.subtle.importKey('pkcs8', der, importParameters, false, ['sign']);
    const isRoot = certificates[0]!.raw.equals(rootCertificate.raw);
    return new Authority(
      { chain: pemOf(certificates), root: pemOf([rootCertificate]), key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() },
      createHash('sha256').update(certificates[0]!.raw).update(rootCertificate.raw).digest('base64url').slice(0, 22),
      new x509.X509Certificate(certificates[0]!.raw),
      rootCertificate,
      signingKey,
      algorithm,
      privateKey,
      isRoot ? '' : pemOf(certificates),
      Math.min(...[...certificates, rootCertificate].map(({ validTo }) => Date.parse(validTo))),
    );
  }

  /** A key for another purpose, made of this one: nobody without it can make the same. */
  deriveKey(purpose: string): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.key.export({ type: 'pkcs8', format: 'der' }), '', purpose, 32));
  }

  /** Whether a certificate was signed by this authority's key. */
  signed(certificate: X509Certificate): boolean {
    return certificate.verify(new X509Certificate(Buffer.from(this.certificate.rawData)).publicKey);
  }
}

/** 126 random bits (RFC 5280, section 4.1.2.2: positive, at most 20 octets). */
export function serialNumber(random: (bytes: number) => Buffer): string {
  const bytes = random(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function read(what: string, pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error(`${what}: no certificate was found in it`);
  if (what === 'root' && blocks.length > 1) throw new Error('root: one certificate was expected');
  if (blocks.length > 8) throw new Error(`${what}: at most 8 certificates were expected`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch {
    throw new Error(`${what}: a certificate in it cannot be read`);
  }
}

function readKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new Error('issuer.key: a private key in PEM, not encrypted, was expected');
  }
}

function checkChain(certificates: readonly X509Certificate[], root: X509Certificate, key: KeyObject): void {
  if (!certificates[0]!.checkPrivateKey(key)) throw new Error('issuer.key: it does not belong to the first certificate of issuer.cert');
  const path = certificates[0]!.raw.equals(root.raw) ? [root] : [...certificates, root];
  path.forEach((certificate, below) => {
    const what = certificate === root ? 'root' : `issuer.cert: certificate ${below + 1}`;
    if (!certificate.ca) throw new Error(`${what}: it is not that of an authority (basicConstraints: CA)`);
    const parsed = new x509.X509Certificate(certificate.raw);
    const usage = parsed.getExtension(x509.KeyUsagesExtension);
    if (usage !== null && (usage.usages & x509.KeyUsageFlags.keyCertSign) === 0) throw new Error(`${what}: it may not sign certificates (keyUsage: keyCertSign)`);
    const allowed = parsed.getExtension(x509.BasicConstraintsExtension)?.pathLength;
    if (allowed !== undefined && allowed < below) throw new Error(`${what}: its path length of ${allowed} allows fewer intermediates than there are`);
    const issuer = path[below + 1] ?? root;
    if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) throw new Error(`${what}: it was not issued by ${issuer === root ? 'the root' : 'the one after it'}`);
  });
}

function pemOf(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => certificate.toString()).join('');
}
