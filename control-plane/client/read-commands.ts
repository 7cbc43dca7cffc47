import type { Command } from 'commander';
import pc from 'picocolors';
import type { ProxyStatus } from '../publish/publisher.js';
import { collectionOf, collections, type Kind, type Resource } from '../model/resources.js';
import type { HistoryAnswer, StatusAnswer } from './answers.js';
import type { Connection } from './client.js';
import { controlPlaneCommand, kindOf, versionOf, withClient } from './command.js';
import { formatOption, print, printItems, tableOf, type Format } from './output.js';

interface ReadOptions extends Connection {
  readonly output: Format;
}

export function getCommand(): Command {
  return controlPlaneCommand('get', 'prints resources')
    .argument('[kind]', 'only those of a kind', kindOf)
    .argument('[name]', 'only the one of that name')
    .addOption(formatOption())
    .action((kind: Kind | undefined, name: string | undefined, options: ReadOptions) =>
      withClient(options, async (client) => {
        const one = kind !== undefined && name !== undefined;
        const paths = one ? [`/v1/${collectionOf(kind)}/${encodeURIComponent(name)}`] : (kind === undefined ? Object.keys(collections) : [collectionOf(kind)]).map((collection) => `/v1/${collection}`);
        const answers = await Promise.all(paths.map((path) => client.call<Resource | { items: Resource[] }>('GET', path)));
        const resources = answers.flatMap((answer) => ('items' in answer ? answer.items : [answer]));
        if (options.output === 'json' && one) return print(JSON.stringify(resources[0], null, 2));
        printItems(resources, options.output, () => tableOf(['kind', 'name', 'what'], resources.map((resource) => [resource.kind, resource.name, summary(resource)])));
      }),
    );
}

export function historyCommand(): Command {
  return controlPlaneCommand('history', 'prints who changed what and when, newest first')
    .argument('[kind]', 'only what became of one resource: its kind', kindOf)
    .argument('[name]', 'and its name')
    .option('--limit <n>', 'how many revisions', versionOf, 20)
    .addOption(formatOption())
    .action((kind: Kind | undefined, name: string | undefined, options: ReadOptions & { limit: number }, command: Command) => {
      if (kind !== undefined && name === undefined) command.error(`error: a name is missing: history ${kind} NAME`);
      return withClient(options, async (client) => {
        const { items } = await client.call<HistoryAnswer>('GET', `/v1/${kind === undefined ? '' : `${collectionOf(kind)}/${encodeURIComponent(name!)}/`}history?limit=${options.limit}`);
        printItems(items, options.output, () => tableOf(['version', 'when', 'who', 'what', 'resources'], items.map(({ version, at, by, action, changes }) => [String(version), at, by, action, few(changes.map((change) => `${change.kind}/${change.name} ${change.action}`))])));
      });
    });
}

export function statusCommand(): Command {
  return controlPlaneCommand('status', 'prints which proxies are connected, and what they made of what they were sent; exits 1 if one rejected it')
    .option('--wait', 'waits, 10s at most, until every connected proxy has answered')
    .addOption(formatOption())
    .action((options: ReadOptions & { wait?: true }) =>
      withClient(options, async (client) => {
        const status = await client.call<StatusAnswer>('GET', options.wait ? '/v1/status?settled=true&timeout=10s' : '/v1/status', undefined, [504]);
        const { proxies, version, settled } = status;
        if (options.output === 'table') {
          print(tableOf(['proxy', 'kind', 'service', 'connected', 'sent', 'accepted', 'state'], proxies.map((proxy) => [proxy.node, proxy.kind, proxy.service ?? '-', proxy.connected ? 'yes' : 'no', proxy.sent ?? '-', proxy.accepted ?? '-', state(proxy)])));
          print(`version ${version}, ${settled ? 'settled' : 'not settled: some have not answered yet'}`);
        } else printItems([status], options.output, () => '');
        if (!settled || proxies.some(({ connected, rejected }) => connected && rejected !== undefined)) process.exitCode = 1;
      }),
    );
}

function state({ connected, sent, accepted, rejected }: ProxyStatus): string {
  if (rejected !== undefined) return pc.red(`rejected ${rejected.version}: ${rejected.reason.split('\n', 1)[0]!.slice(0, 200)}`);
  if (!connected) return 'gone';
  return sent === accepted ? pc.green('up to date') : pc.yellow('has not answered');
}

function summary(resource: Resource): string {
  switch (resource.kind) {
    case 'Service':
      return resource.endpoints === undefined ? 'endpoints of the registry' : few(resource.endpoints.map((endpoint) => (typeof endpoint === 'string' ? endpoint : endpoint.address)));
    case 'Route':
      return `${[resource.match?.method, resource.match?.host, resource.match?.path ?? '/'].filter((part) => part !== undefined).join(' ')} → ${resource.service}`;
    case 'Policy':
      return `${Object.keys(resource.spec).join(', ')} at ${resource.placement} for ${few(resource.target.services)}`;
    case 'Identity':
      return `${resource.namespace ?? 'default'}/${resource.service}${resource.workload === undefined ? '' : ` for ${resource.workload.subject}`}`;
  }
}

function few(texts: readonly string[], most = 3): string {
  return texts.length <= most ? texts.join(', ') : `${texts.slice(0, most).join(', ')} and ${texts.length - most} more`;
}
