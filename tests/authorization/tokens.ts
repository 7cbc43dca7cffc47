import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose';

const issuer = 'https://issuer.test';
const audience = 'shop';

/** An issuer whose key set is in the configuration, and what attackers make of its tokens. */
export class TokenIssuer {
  private constructor(
    private readonly key: CryptoKey,
    private readonly foreign: CryptoKey,
    /** A policy that trusts this issuer. */
    readonly policy: Readonly<Record<'issuer' | 'audience' | 'jwks' | 'algorithms', unknown>>,
  ) {}

  static async create(): Promise<TokenIssuer> {
    const [own, foreign] = await Promise.all([generateKeyPair('ES256', { extractable: true }), generateKeyPair('ES256')]);
    const jwks = { keys: [{ ...(await exportJWK(own.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }] };
    return new TokenIssuer(own.privateKey, foreign.privateKey, { issuer, audience, jwks, algorithms: ['ES256'] });
  }

  token(claims: Readonly<Record<string, unknown>> = {}, key = this.key): Promise<string> {
    const now = Math.floor(Date.now() / 1_000);
    return new SignJWT({ iss: issuer, aud: audience, sub: 'alice', exp: now + 600, ...claims }).setProtectedHeader({ alg: 'ES256', kid: 'one' }).sign(key);
  }

  /** Values of `Authorization` that let nobody in, with the code that each is refused with. */
  async refused(): Promise<readonly (readonly [name: string, value: string | undefined, code: string])[]> {
    const now = Math.floor(Date.now() / 1_000);
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const [header, , signature] = (await this.token()).split('.');
    const bearer = async (token: string | Promise<string>): Promise<string> => `Bearer ${await token}`;
    return [
      ['none at all', undefined, 'token_missing'],
      ['another scheme', 'Basic YTpi', 'token_invalid'],
      ['no token', await bearer('none'), 'token_invalid'],
      ['an expired token', await bearer(this.token({ exp: now - 3_600 })), 'token_expired'],
      ['a token for later', await bearer(this.token({ nbf: now + 3_600 })), 'token_invalid'],
      ['a token for somebody else', await bearer(this.token({ aud: 'another' })), 'token_invalid'],
      ['a token of another issuer', await bearer(this.token({ iss: 'https://evil.test' })), 'token_invalid'],
      ['a token of another key', await bearer(this.token({}, this.foreign)), 'token_invalid'],
      ['a token that nobody signed', await bearer(`${part({ alg: 'none', typ: 'JWT' })}.${part({ iss: issuer, aud: audience, sub: 'alice', exp: now + 600 })}.`), 'token_invalid'],
      ['a token that was changed', await bearer(`${header}.${part({ iss: issuer, aud: audience, sub: 'root', exp: now + 600 })}.${signature}`), 'token_invalid'],
      ['a token without the scope', await bearer(this.token({ scope: 'newsletter' })), 'scope_missing'],
    ];
  }
}
