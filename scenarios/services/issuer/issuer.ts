import type { FastifyInstance } from 'fastify';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { z } from 'zod';

interface SigningKey {
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

const tokenRequest = z.strictObject({
  sub: z.string().min(1),
  scope: z.string().default(''),
  audience: z.string().default('shop'),
  expiresInSeconds: z.int().min(-86_400).max(86_400).default(600),
});

/** How many keys are published: the newest signs, those before it still verify what they signed. */
const publishedKeys = 2;

/** The shop's OpenID issuer: RS256 keys that rotate, and tokens with whatever claims the lab asks for. */
export async function issuer(environment: NodeJS.ProcessEnv): Promise<(app: FastifyInstance) => void> {
  const name = environment['ISSUER'] ?? 'http://issuer';
  let count = 0;
  const keys: SigningKey[] = [];
  const rotate = async (): Promise<string> => {
    const kid = `key-${++count}`;
    const { privateKey, publicKey } = await generateKeyPair('RS256');
    keys.unshift({ kid, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' } });
    keys.splice(publishedKeys);
    return kid;
  };
  await rotate();

  return (app) => {
    app.get('/.well-known/openid-configuration', async () => ({ issuer: name, jwks_uri: `${name}/.well-known/jwks.json`, id_token_signing_alg_values_supported: ['RS256'] }));
    app.get('/.well-known/jwks.json', async () => ({ keys: keys.map(({ publicJwk }) => publicJwk) }));
    app.post('/rotate', async () => ({ kid: await rotate() }));
    app.post('/token', async (request, reply) => {
      const parsed = tokenRequest.safeParse(request.body);
      if (!parsed.success) return reply.code(422).send({ problems: parsed.error.issues });
      const { sub, scope, audience, expiresInSeconds } = parsed.data;
      const { kid, privateKey } = keys[0]!;
      const now = Math.floor(Date.now() / 1_000);
      const token = await new SignJWT({ scope })
        .setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' })
        .setIssuer(name)
        .setSubject(sub)
        .setAudience(audience)
        .setIssuedAt(Math.min(now, now + expiresInSeconds - 1))
        .setExpirationTime(now + expiresInSeconds)
        .sign(privateKey);
      return { access_token: token, token_type: 'Bearer', expires_in: expiresInSeconds };
    });
  };
}
