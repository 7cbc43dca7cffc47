import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { smallProcess } from '../sidecar/small-process.js';

/** Where a contender finds what it needs. */
export interface Place {
  /** Ports of its own, as many as it asked for; the first is where it listens. */
  readonly ports: readonly number[];
  readonly origins: readonly number[];
  /** A folder of its own. */
  readonly directory: string;
}

interface Launch {
  /** Files to write into the folder, by name. */
  readonly files: Readonly<Record<string, string>>;
  readonly processes: readonly (readonly [command: string, ...args: string[]])[];
}

/** A proxy, set up for a job. */
export interface Contender {
  readonly name: string;
  /** Whether it writes an access log, as ours does. */
  readonly log: 'on' | 'off';
  readonly isInstalled: boolean;
  readonly portCount: number;
  /** Hops that a request takes through it: CPU is divided by them. */
  readonly hops: number;
  /** Processors that it may use. Default 1. */
  readonly processors?: number;
  readonly launch: (place: Place) => Launch;
}

/** The same of ours, under another Node.js. */
export function under(node: string, version: string, contender: Contender): Contender {
  const withOther = ([command, ...args]: readonly [string, ...string[]]): readonly [string, ...string[]] => {
    const named = (word: string): string => (word === process.execPath ? node : word);
    return [named(command), ...args.map(named)];
  };
  return {
    ...contender,
    name: `${contender.name} (${version})`,
    launch: (place) => {
      const { files, processes } = contender.launch(place);
      return { files, processes: processes.map(withOther) };
    },
  };
}

const dist = fileURLToPath(new URL('../', import.meta.url));

/** A process of ours, with its configuration file, started as the lab starts it. */
export function ours(kind: 'gateway' | 'sidecar', file: string): readonly [string, ...string[]] {
  const command = [process.execPath, `${dist}${kind}/main.js`, '--config', file] as const;
  return kind === 'gateway' ? command : ['env', ...Object.entries(smallProcess).map(([name, value]) => `${name}=${value}`), ...command];
}

export function script(path: string, ...args: string[]): readonly [string, ...string[]] {
  return [process.execPath, `${dist}bench/${path}`, ...args];
}

const found = new Map<string, boolean>();

export function installed(command: string): boolean {
  let known = found.get(command);
  if (known === undefined) found.set(command, (known = spawnSync(command, ['-v']).error === undefined));
  return known;
}
