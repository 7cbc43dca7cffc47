import type { KeyObject } from 'node:crypto';

/** As WebCrypto names it. */
export interface SignatureAlgorithm {
  readonly name: string;
  readonly hash: { readonly name: string };
}

interface SigningAlgorithm {
  readonly algorithm: SignatureAlgorithm;
  readonly importParameters: { readonly name: string; readonly namedCurve?: string; readonly hash?: string };
}

/** How an authority's key signs. Throws for keys that are too weak, or of another kind. */
export function signingAlgorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): SigningAlgorithm {
  if (asymmetricKeyType === 'ec') {
    const curve = { prime256v1: 'P-256', secp384r1: 'P-384' }[asymmetricKeyDetails?.namedCurve ?? ''];
    if (curve !== undefined) {
      const hash = curve === 'P-256' ? 'SHA-256' : 'SHA-384';
      return { algorithm: { name: 'ECDSA', hash: { name: hash } }, importParameters: { name: 'ECDSA', namedCurve: curve } };
    }
  }
  if (asymmetricKeyType === 'rsa' && asymmetricKeyDetails!.modulusLength! >= 2_048) {
    return { algorithm: { name: 'RSASSA-PKCS1-v1_5', hash: { name: 'SHA-256' } }, importParameters: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } };
  }
  throw new Error('issuer.key: a key of P-256, P-384, or RSA of at least 2048 bits was expected');
}
