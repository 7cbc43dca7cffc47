import type { ProxyStatus } from '../publish/publisher.js';
import type { Kind, Resource } from '../model/resources.js';

/* What the API answers with, as far as the command line looks at it. */

interface ChangedResource {
  readonly kind: Kind;
  readonly name: string;
  readonly action: 'created' | 'updated' | 'deleted';
  readonly before?: Resource;
  readonly after?: Resource;
}

export interface ChangeAnswer {
  readonly version: number;
  readonly dryRun?: true;
  readonly changes: readonly ChangedResource[];
}

export interface HistoryAnswer {
  readonly version: number;
  readonly items: readonly { readonly version: number; readonly at: string; readonly by: string; readonly action: string; readonly changes: readonly ChangedResource[] }[];
}

export interface StatusAnswer {
  readonly version: number;
  readonly settled: boolean;
  readonly proxies: readonly ProxyStatus[];
}
