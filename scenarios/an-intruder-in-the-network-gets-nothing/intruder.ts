import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { webcrypto } from 'node:crypto';

/** How an intruder comes. */
export const disguises = ['plaintext', 'no certificate', 'forged certificate'] as const;
export type Disguise = (typeof disguises)[number];

interface Outcome {
  readonly sent: number;
  readonly answered: number;
}

/** A certificate that says the right name, and that nobody but the intruder has signed. */
async function forgeCertificate(identity: string): Promise<{ cert: string; key: string }> {
  const keys = (await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']));
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01', name: 'CN=mallory', keys, signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: identity }])],
  });
  return { cert: certificate.toString('pem'), key: x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY') };
}

/** Somebody who is inside the network: sends a number of requests in one disguise, each on a connection of its own, and counts the answers below 400. */
export async function intrude(target: string, path: string, disguise: Disguise, identity: string, requests: number, tag: string): Promise<Outcome> {
  const { hostname, port } = new URL(target);
  const credentials = disguise === 'forged certificate' ? await forgeCertificate(identity) : {};
  let answered = 0;
  for (let index = 0; index < requests; index++) {
    // The intruder believes whoever answers: what it is shown is not its concern.
    const options = { host: hostname, port, path, agent: false as const, headers: { host: 'payments', 'x-lab-tag': tag }, timeout: 3_000 };
    const send = (): ReturnType<typeof plainRequest> => (disguise === 'plaintext' ? plainRequest(options) : tlsRequest({ ...options, ...credentials, rejectUnauthorized: false }));
    answered += await new Promise<number>((resolve) => {
      const attempt = send();
      attempt.on('response', (response) => {
        response.resume();
        resolve(response.statusCode! < 400 ? 1 : 0);
      });
      attempt.on('error', () => resolve(0)).on('timeout', () => attempt.destroy()).end();
    });
  }
  return { sent: requests, answered };
}
