import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { PemFiles } from './pem-store.js';

/*
 * Whether certificates, keys and authorities are of any use. `createSecureContext` takes some that are not: OpenSSL has a place for each algorithm, so that an
 * RSA certificate and a key of ECDSA do not meet before a handshake; and Node passes over whatever is no certificate of an authority, be it all there is.
 */

/** A certificate, its intermediates, and its key, in PEM. */
export interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** The contents of a certificate's file and of its key's. Throws, naming them, if they cannot be used together. */
export function readPair(files: PemFiles, paths: { readonly cert: string; readonly key: string }): Pair {
  const [cert, key] = [files.read(paths.cert), files.read(paths.key)];
  naming([...new Set([paths.cert, paths.key])], () => refuseUnlessPair(cert, key));
  return { cert, key };
}

/** The contents of a file of authorities. Throws, naming it, if they cannot be used. */
export function readAuthorities(files: PemFiles, path: string): Buffer {
  const contents = files.read(path);
  naming([path], () => refuseUnlessAuthorities(contents));
  return contents;
}

/** Throws, with no word of the key, unless it is that of the first certificate, the leaf. A key that is encrypted cannot be used: there is nowhere to give its passphrase. */
export function refuseUnlessPair(cert: Buffer, key: Buffer): void {
  const leaf = readLeaf(cert);
  const own = readKey(key);
  if (!leaf.checkPrivateKey(own)) throw new Error(`the key (${own.asymmetricKeyType!}) is not that of the first certificate (${leaf.publicKey.asymmetricKeyType!}); the key of that certificate was expected`);
  createSecureContext({ cert, key });
}

/** Throws unless every block is whole, and at least one is a certificate. */
export function refuseUnlessAuthorities(pem: Buffer): void {
  const text = pem.toString();
  let begin: { readonly label: string; readonly at: number } | undefined;
  let certificates = 0;
  for (const { 0: line, 1: side, 2: rest, index: at } of text.matchAll(/^\uFEFF?-----(BEGIN|END) (.*)$/gm)) {
    const label = rest!.trimEnd();
    if (side === 'BEGIN' ? begin !== undefined : begin?.label !== label) throw new Error(cutOff);
    if (begin !== undefined && /^(X509 |TRUSTED )?CERTIFICATE-----$/.test(label)) refuseUnlessCertificate(text.slice(begin.at, at + line.length), ++certificates);
    begin = side === 'BEGIN' ? { label, at } : undefined;
  }
  if (begin !== undefined) throw new Error(cutOff);
  if (certificates === 0) throw new Error('the file holds no certificate of an authority; PEM with at least one was expected');
}

const cutOff = 'the file is cut off, or damaged: a line -----BEGIN or -----END is without the other; whole blocks of PEM were expected';

function refuseUnlessCertificate(block: string, number: number): void {
  try {
    new X509Certificate(block);
  } catch {
    throw new Error(`certificate ${number} of the file is damaged; whole certificates in PEM were expected`);
  }
}

function readLeaf(pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new Error('the certificate cannot be read; PEM with the certificate first, then its intermediates, was expected');
  }
}

function readKey(pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new Error('the key cannot be read; a private key in PEM, not encrypted, was expected');
  }
}

function naming(paths: readonly string[], check: () => void): void {
  try {
    check();
  } catch (error) {
    throw new Error(`${paths.join(' with ')}: ${(error as Error).message}`, { cause: error });
  }
}
