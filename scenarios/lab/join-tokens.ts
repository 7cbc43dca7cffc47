import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { identityOf, type Unit } from './declaration.js';

export interface JoinTokensOptions {
  readonly units: readonly Pick<Unit, 'id' | 'role'>[];
  /** Base address of the control plane. */
  readonly controlPlane: string;
  /** A token that may write; none where the control plane asks for none. */
  readonly token: string | undefined;
  readonly fileOf: (unit: string) => string;
}

/**
 * Does what a deployment does for real: asks for a join token for each proxy and leaves it where the proxy looks for it. Rejects when the
 * control plane is not there.
 */
export async function writeJoinTokens({ units, controlPlane, token, fileOf }: JoinTokensOptions): Promise<void> {
  for (const unit of units) {
    const service = identityOf(unit);
    if (service === undefined) continue;
    const response = await fetch(`${controlPlane}/v1/join-tokens`, {
      method: 'POST',
      signal: AbortSignal.timeout(5_000),
      headers: { 'content-type': 'application/json', ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify({ service }),
    });
    if (!response.ok) throw new Error(`the control plane gave no join token for ${service}: ${response.status} ${(await response.text()).slice(0, 500)}`);
    const { token: joinToken } = (await response.json()) as { token: string };
    const file = fileOf(unit.id);
    await mkdir(dirname(file), { recursive: true });
    // Whole or not at all: the proxy may look at any moment.
    await writeFile(`${file}.new`, joinToken, { mode: 0o640 });
    await rename(`${file}.new`, file);
  }
}
