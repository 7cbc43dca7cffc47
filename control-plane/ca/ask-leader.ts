import { Agent, request } from 'undici';

/** Marks a request that was passed on: whoever gets it and does not lead either must not pass it on again. */
export const passedOn = 'x-passed-on-to-leader';

export interface LeaderAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const timeoutMs = 5_000;
const maxAnswerBytes = 262_144;
const kept = ['content-type', 'retry-after', 'www-authenticate'];

/**
 * Sends a request to the control plane that leads, so that proxies need not know which it is. `ca` is what its certificate is verified
 * against, where it speaks https. Rejects when it cannot be reached.
 */
export async function askLeader(leader: string, path: string, body: unknown, { authorization, ca }: { readonly authorization?: string | undefined; readonly ca?: string | undefined }): Promise<LeaderAnswer> {
  const agent = new Agent({ maxResponseSize: maxAnswerBytes, connect: { timeout: 2_000, ...(ca !== undefined && { ca }) } });
  try {
    const answer = await request(`${leader.replace(/\/$/, '')}${path}`, {
      method: 'POST',
      dispatcher: agent,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      headers: { 'content-type': 'application/json', [passedOn]: '1', ...(authorization !== undefined && { authorization }) },
      body: JSON.stringify(body),
    });
    const headers = Object.fromEntries(kept.flatMap((name) => (typeof answer.headers[name] === 'string' ? [[name, answer.headers[name]]] : [])));
    return { status: answer.statusCode, headers, body: await answer.body.text() };
  } finally {
    await agent.close();
  }
}
