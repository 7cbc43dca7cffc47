import { Command, InvalidArgumentError, Option } from 'commander';
import { collections, kindSchemas, type Kind } from '../model/resources.js';
import { ControlPlaneClient, ControlPlaneError, type Connection } from './client.js';
import { explain, type ReadDocument } from './documents.js';

/** A command that talks to a control plane, with the options that say to which. */
export function controlPlaneCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(new Option('--url <url>', 'address of the control plane').env('CONTROL_PLANE_URL').default('http://127.0.0.1:7000'))
    .addOption(new Option('--token-file <file>', 'file with the token to show').env('CONTROL_PLANE_TOKEN_FILE'))
    .addOption(new Option('--ca <file>', 'PEM file: the authorities that its certificate must come from').env('CONTROL_PLANE_CA'))
    .addOption(new Option('--cert <file>', 'PEM file: the certificate to show').env('CONTROL_PLANE_CERT'))
    .addOption(new Option('--key <file>', 'PEM file: its private key').env('CONTROL_PLANE_KEY'));
}

/**
 * Runs a command against the control plane that its options name. What goes wrong is written to stderr, resources with file, line and column, and
 * the process exits with `failure`.
 */
export async function withClient(connection: Connection, run: (client: ControlPlaneClient) => Promise<void>, { documents = [], failure = 1 }: { readonly documents?: readonly ReadDocument[]; readonly failure?: number } = {}): Promise<void> {
  let client: ControlPlaneClient | undefined;
  try {
    client = await ControlPlaneClient.open(connection);
    await run(client);
  } catch (error) {
    fail(error, documents, failure);
  } finally {
    await client?.close();
  }
}

/** As `withClient`, after `read` has read what is to be sent. */
export async function withDocuments(connection: Connection, read: () => Promise<ReadDocument[]>, run: (client: ControlPlaneClient, documents: readonly ReadDocument[]) => Promise<void>, failure = 1): Promise<void> {
  let documents: ReadDocument[];
  try {
    documents = await read();
  } catch (error) {
    return fail(error, [], failure);
  }
  return withClient(connection, (client) => run(client, documents), { documents, failure });
}

function fail(error: unknown, documents: readonly ReadDocument[], code: number): void {
  if (!(error instanceof ControlPlaneError)) throw error;
  const lines = error.problems.length > 0 ? explain(error.problems, documents) : [error.message];
  process.stderr.write(`${lines.join('\n')}\n`);
  process.exitCode = code;
}

/** `Policy`, `policy` or `policies`. */
export function kindOf(text: string): Kind {
  const lower = text.toLowerCase();
  const kind = (Object.keys(kindSchemas) as Kind[]).find((each) => each.toLowerCase() === lower) ?? (collections as Readonly<Record<string, Kind>>)[lower];
  if (kind === undefined) throw new InvalidArgumentError(`There is no such kind; there is ${Object.keys(kindSchemas).join(', ')}.`);
  return kind;
}

export function versionOf(text: string): number {
  const version = Number(text);
  if (!Number.isSafeInteger(version) || version < 0) throw new InvalidArgumentError('Not a version: expected a whole number, as `history` prints them.');
  return version;
}
