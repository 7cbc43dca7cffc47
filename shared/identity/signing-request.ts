import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { KeyObject, webcrypto } from 'node:crypto';

/** A key that was just made, and the request that asks for its certificate. */
export interface NewRequest {
  /** Never leaves this machine. */
  readonly key: KeyObject;
  /** PKCS#10, PEM. */
  readonly csr: string;
  readonly der: Uint8Array;
}

/**
 * Makes a key (P-256) and a signing request for it. `name`: the SPIFFE name to ask for, so that a proof of another name is refused before it
 * is used up; without it the authority goes by the proof alone.
 */
export async function createSigningRequest(name: string | undefined): Promise<NewRequest> {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    ...(name !== undefined && { extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: name }])] }),
  });
  return { key: KeyObject.from(keys.privateKey), csr: request.toString('pem'), der: new Uint8Array(request.rawData) };
}
