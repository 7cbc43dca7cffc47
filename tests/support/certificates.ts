import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export interface KeyPairFiles {
  readonly cert: string;
  readonly key: string;
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
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true), new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true)],
    });
    return new TestAuthority(keys, root);
  }

  /** Writes a certificate for DNS names, IP addresses and URIs (SPIFFE names) to `NAME.crt` and `NAME.key`, replacing what is there. */
  async issue(name: string, { dns = [], ip = [], uri = [] }: { readonly dns?: readonly string[]; readonly ip?: readonly string[]; readonly uri?: readonly string[] }): Promise<KeyPairFiles> {
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: (++this.#serial).toString(16).padStart(2, '0'), subject: `CN=${name}`, issuer: this.root.subject, publicKey: keys.publicKey,
      signingKey: this.keys.privateKey, signingAlgorithm: algorithm, ...validity(),
      extensions: [new x509.SubjectAlternativeNameExtension([...dns.map((value) => ({ type: 'dns' as const, value })), ...ip.map((value) => ({ type: 'ip' as const, value })), ...uri.map((value) => ({ type: 'url' as const, value }))])],
    });
    const files = { cert: join(this.directory, `${name}.crt`), key: join(this.directory, `${name}.key`) };
    writeFileSync(files.cert, `${certificate.toString('pem')}\n`);
    writeFileSync(files.key, x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY'));
    return files;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }
}

function validity(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
}
