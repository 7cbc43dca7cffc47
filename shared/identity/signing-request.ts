import { BitString, Constructed, Integer, ObjectIdentifier, OctetString, Primitive, Sequence, Set as SetOf, fromBER } from 'asn1js';
import { generateKeyPair, sign, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

/** A key that was just made, and the request that asks for its certificate. */
interface NewRequest {
  /** Never leaves this machine. */
  readonly key: KeyObject;
  /** PKCS#10, PEM. */
  readonly csr: string;
  readonly der: Uint8Array;
}

const ecdsaWithSha256 = '1.2.840.10045.4.3.2';
const extensionRequest = '1.2.840.113549.1.9.14';
const subjectAltName = '2.5.29.17';
/** Tag of a URI among the kinds of names (RFC 5280, section 4.2.1.6). */
const uri = 6;
const contextSpecific = 3;

/**
 * Makes a key (P-256) and a signing request for it. `name`: the SPIFFE name to ask for, so that a proof of another name is refused before it
 * is used up; without it the authority goes by the proof alone. The request has no subject: an identity is a URI.
 *
 * The authority reads and writes certificates with a library that would be half of what a sidecar loads to enrol, and more than that of the time.
 * This is the one structure that a sidecar writes.
 */
export async function createSigningRequest(name: string | undefined): Promise<NewRequest> {
  const { privateKey: key, publicKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  // RFC 2986, section 4: version, subject, key, attributes.
  const info = sequence(
    new Integer({ value: 0 }),
    sequence(),
    fromBER(publicKey.export({ type: 'spki', format: 'der' })).result,
    new Constructed({ idBlock: { tagClass: contextSpecific, tagNumber: 0 }, value: name === undefined ? [] : [attribute(extensionRequest, sequence(alternativeName(name)))] }),
  );
  const signature = sign('sha256', Buffer.from(info.toBER()), key);
  const der = Buffer.from(sequence(info, sequence(oid(ecdsaWithSha256)), new BitString({ valueHex: signature })).toBER());
  return { key, der, csr: `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE REQUEST-----\n` };
}

type Value = Sequence['valueBlock']['value'][number];

function sequence(...value: Value[]): Sequence {
  return new Sequence({ value });
}

function oid(value: string): ObjectIdentifier {
  return new ObjectIdentifier({ value });
}

function attribute(type: string, value: Value): Sequence {
  return sequence(oid(type), new SetOf({ value: [value] }));
}

function alternativeName(name: string): Sequence {
  const names = sequence(new Primitive({ idBlock: { tagClass: contextSpecific, tagNumber: uri }, valueHex: Buffer.from(name, 'ascii') }));
  return sequence(oid(subjectAltName), new OctetString({ valueHex: names.toBER() }));
}
