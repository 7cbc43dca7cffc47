import { CompareTarget, type ICompare } from 'etcd3';
import type { EtcdClient } from './etcd-client.js';
import { unchanged } from './etcd-mirror.js';

/** A text that several control planes share, and of which none overwrites what it has not seen: the authority's state, for one. */
export class EtcdDocument {
  readonly #key: Buffer;

  constructor(
    private readonly client: EtcdClient,
    name: string,
  ) {
    this.#key = Buffer.from(`${client.prefix}/documents/${name}`);
  }

  /** Undefined: there is none yet. */
  async read(): Promise<string | undefined> {
    const { kvs } = await this.client.range({ key: this.#key });
    return kvs[0]?.value.toString();
  }

  /** Writes `after` if what is there is still `before`. Resolves with whether it was. */
  async replace(before: string | undefined, after: string): Promise<boolean> {
    const compare: ICompare = before === undefined ? unchanged(this.#key.toString(), 0) : { key: this.#key, target: CompareTarget.Value, value: Buffer.from(before) };
    const { succeeded } = await this.client.txn({ compare: [compare], success: [{ request_put: { key: this.#key, value: Buffer.from(after) } }] });
    return succeeded;
  }
}
