import * as x509 from '@peculiar/x509';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { Refusal } from './refusal.js';

/** Beyond it a request is not even parsed (bytes of PEM). A P-256 one has 450, an RSA-4096 one 1,700. */
export const maxRequestBytes = 16_384;
const hashes = new Set(['SHA-256', 'SHA-384', 'SHA-512']);

interface SigningRequest {
  readonly publicKey: x509.PublicKey;
  /** DER, as the proof of a renewal covers it. */
  readonly der: Buffer;
  /** The SPIFFE name that it asks for; undefined when it leaves the name to the proof. Nothing else of its subject is looked at. */
  readonly name: string | undefined;
}

/** Reads a PKCS#10 request (RFC 2986) and verifies that its sender has the private key. Rejects with a `Refusal`. */
export async function readSigningRequest(pem: string): Promise<SigningRequest> {
  if (pem.length > maxRequestBytes) throw new Refusal('request_invalid', `It is longer than ${maxRequestBytes} bytes.`);
  let request: x509.Pkcs10CertificateRequest;
  try {
    const blocks = x509.PemConverter.decode(pem);
    if (blocks.length !== 1) throw new Error('one PEM block was expected');
    request = new x509.Pkcs10CertificateRequest(blocks[0]!);
  } catch {
    throw new Refusal('request_invalid', 'One PKCS#10 request in PEM was expected.');
  }
  checkKey(request);
  if (!(await request.verify().catch(() => false))) throw new Refusal('request_invalid', 'Its signature is wrong: its sender does not have the key.');
  return { publicKey: request.publicKey, der: Buffer.from(request.rawData), name: nameIn(request) };
}

function checkKey({ publicKey, signatureAlgorithm }: x509.Pkcs10CertificateRequest): void {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(publicKey.rawData), format: 'der', type: 'spki' });
  } catch {
    throw new Refusal('request_invalid', 'Its key cannot be read.');
  }
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  const isAllowed =
    key.asymmetricKeyType === 'ed25519' ||
    (key.asymmetricKeyType === 'ec' && (namedCurve === 'prime256v1' || namedCurve === 'secp384r1')) ||
    (key.asymmetricKeyType === 'rsa' && modulusLength! >= 2_048 && modulusLength! <= 8_192);
  if (!isAllowed) throw new Refusal('request_invalid', 'Its key must be P-256, P-384, Ed25519, or RSA of 2048 to 8192 bits.');
  if (key.asymmetricKeyType !== 'ed25519' && !hashes.has((signatureAlgorithm as { hash?: { name: string } }).hash?.name ?? '')) throw new Refusal('request_invalid', 'It must be signed with SHA-256, SHA-384 or SHA-512.');
}

function nameIn(request: x509.Pkcs10CertificateRequest): string | undefined {
  const extension = request.extensions.find(({ type }) => type === subjectAlternativeName);
  if (extension === undefined) return undefined;
  const names = spiffeNamesOf(extension);
  if (names?.length !== 1) throw new Refusal('name_not_proven', 'Its alternative names must be one SPIFFE name, or none.');
  return names[0];
}

const subjectAlternativeName = '2.5.29.17';

/** The URIs among alternative names; undefined if there is anything else among them. */
export function spiffeNamesOf(extension: x509.Extension): string[] | undefined {
  try {
    const { items } = new x509.GeneralNames(new x509.SubjectAlternativeNameExtension(extension.rawData).names.toJSON());
    return items.every(({ type }) => type === 'url') ? items.map(({ value }) => value) : undefined;
  } catch {
    return undefined;
  }
}
