import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const rsa = { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' };

export interface KeyPairFiles {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateOptions {
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly uri?: readonly string[];
  /** Its validity, in ms from now. */
  readonly from?: number;
  readonly to?: number;
  /** Whether its key is one of RSA, and not of ECDSA. */
  readonly isRsa?: boolean;
}

/** A certificate authority for one test, whose files are in a folder of its own. */
export class TestAuthority {
  readonly directory = mkdtempSync(join(tmpdir(), 'certificates-'));
  readonly ca = join(this.directory, 'ca.crt');
  #serial = 1;

  private constructor(
    private readonly keys: webcrypto.CryptoKeyPair,
    private readonly root: x509.X509Certificate,
  ) {
    writeFileSync(this.ca, root.toString('pem'));
  }

  static async create(): Promise<TestAuthority> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const root = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: '01', name: 'CN=test authority', keys, signingAlgorithm: algorithm, ...validity(),
      extensions: [await x509.SubjectKeyIdentifierExtension.create(keys.publicKey), new x509.BasicConstraintsExtension(true, undefined, true), new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true)],
    });
    return new TestAuthority(keys, root);
  }

  /** Writes a certificate for DNS names, IP addresses and URIs to `NAME.crt` and `NAME.key`, replacing what is there. Valid for an hour, unless `from` and `to` (ms from now) say otherwise. */
  async issue(name: string, { dns = [], ip = [], uri = [], from = -60_000, to = 3_600_000, isRsa = false }: CertificateOptions): Promise<KeyPairFiles> {
    const keys = await webcrypto.subtle.generateKey(isRsa ? rsa : algorithm, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: (++this.#serial).toString(16).padStart(2, '0'), subject: `CN=${name}`, issuer: this.root.subject, publicKey: keys.publicKey,
      signingKey: this.keys.privateKey, signingAlgorithm: algorithm, ...validity(from, to),
      extensions: [await x509.AuthorityKeyIdentifierExtension.create(this.keys.publicKey), new x509.SubjectAlternativeNameExtension([...uri.map((value) => ({ type: 'url' as const, value })), ...dns.map((value) => ({ type: 'dns' as const, value })), ...ip.map((value) => ({ type: 'ip' as const, value }))])],
    });
    const files = { cert: join(this.directory, `${name}.crt`), key: join(this.directory, `${name}.key`) };
    writeFileSync(files.cert, `${certificate.toString('pem')}\n`);
    writeFileSync(files.key, x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY'));
    return files;
  }

  /** The identity of a workload of the trust domain `mesh.test`, as a proxy is configured with it. */
  async identity(service: string, options: CertificateOptions & { readonly trustDomain?: string } = {}): Promise<KeyPairFiles & { readonly bundle: string }> {
    const uri = [`spiffe://${options.trustDomain ?? 'mesh.test'}/ns/default/sa/${service}`];
    return { ...(await this.issue(service, { uri, ...options })), bundle: this.ca };
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }
}

function validity(from = -60_000, to = 3_600_000): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() + from), notAfter: new Date(Date.now() + to) };
}
