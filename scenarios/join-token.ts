import { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';

interface Options {
  readonly url: string;
  readonly namespace: string;
  readonly ttl?: string;
  readonly tokenFile?: string;
  readonly ca?: string;
}

/** `join-token SERVICE`: asks a control plane for a join token and prints it, and nothing else, on stdout. */
export function joinTokenCommand(): Command {
  return new Command('join-token')
    .description('makes a join token: good once, for one certificate of one service')
    .argument('<service>', 'the service; `gateway` for a gateway')
    .option('--url <url>', 'base address of the control plane', process.env['CONTROL_PLANE_URL'] ?? 'http://127.0.0.1:7000')
    .option('--namespace <name>', 'namespace of the service', 'default')
    .option('--ttl <duration>', 'how long it is good for: 10m; at most ca.joinTokenMaxTtl')
    .option('--token-file <file>', 'file with a bearer token that may write')
    .option('--ca <file>', 'PEM file: the authorities that the control plane’s certificate must come from')
    .action(async (service: string, options: Options) => {
      try {
        process.stdout.write(`${await makeJoinToken(service, options)}\n`);
      } catch (error) {
        process.stderr.write(`No join token was made: ${(error as Error).message}\n`);
        process.exitCode = 1;
      }
    });
}

async function makeJoinToken(service: string, { url, namespace, ttl, tokenFile, ca }: Options): Promise<string> {
  const token = tokenFile === undefined ? undefined : (await readFile(tokenFile, 'utf8')).trim();
  const agent = new Agent({ maxResponseSize: 65_536, connect: { timeout: 5_000, ...(ca !== undefined && { ca: await readFile(ca, 'utf8') }) } });
  try {
    const answer = await request(`${url.replace(/\/$/, '')}/v1/join-tokens`, {
      method: 'POST',
      dispatcher: agent,
      headersTimeout: 10_000,
      bodyTimeout: 10_000,
      headers: { 'content-type': 'application/json', ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify({ service, namespace, ...(ttl !== undefined && { ttl }) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode === 201) return (JSON.parse(text) as { token: string }).token;
    if (answer.statusCode === 404) throw new Error('the control plane has no certificate authority (section `ca` of its configuration)');
    throw new Error(`the control plane answered ${answer.statusCode}: ${explain(text)}`);
  } finally {
    await agent.close();
  }
}

/** What a problem document says, with the path of each problem. */
function explain(text: string): string {
  try {
    const { detail = '', problems = [] } = JSON.parse(text) as { detail?: string; problems?: { path: string; message: string }[] };
    return [detail, ...problems.map(({ path, message }) => `${path}: ${message}`)].join(' ');
  } catch {
    return 'which makes no sense';
  }
}
