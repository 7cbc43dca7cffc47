import type { Clock, Timer } from '../../shared/clock/clock.js';
import { readFileBounded } from '../../shared/files/read-file.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Leadership } from '../sources/leadership.js';
import { Authority } from './authority.js';
import { overlapOf, type CaConfig } from './config.js';
import { advance, lengthen, nextStepAt, publish } from './rotation.js';
import { parseState, type CaState, type StateDocument } from './state.js';

/** How often the issuer's files, and what other control planes did, are looked at (ms). */
const pollIntervalMs = 10_000;
/** How often a step is tried anew when another control plane was faster. */
const maxConflicts = 5;

interface KeeperDependencies {
  readonly document: StateDocument;
  readonly leadership: Pick<Leadership, 'isLeader' | 'leader'>;
  readonly clock: Clock;
  readonly random: (bytes: number) => Buffer;
  readonly logger: Logger;
}

/** A new root was asked for while another is on its way. */
export class RotationUnderWay extends Error {
  override readonly name = 'RotationUnderWay';
}

/**
 * The authorities of the mesh, and their way through the stages of rotation.ts. The leader takes the steps; the others read what it did.
 * What others are told is on disk before.
 */
export class AuthorityKeeper {
  #text: string | undefined;
  #state: CaState;
  #authorities: ReadonlyMap<string, Authority> = new Map();
  #given = '';
  #timer: Timer | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;
  readonly #listeners = new Set<() => void>();

  private constructor(
    private readonly config: CaConfig,
    private readonly dependencies: KeeperDependencies,
  ) {
    this.#state = { trustDomain: config.trustDomain, sequence: 0, authorities: [] };
  }

  /** Reads the state, and makes the first authority if there is none. Rejects if it is damaged, or if the issuer's files cannot be used; one that has merely expired is waited for. */
  static async open(config: CaConfig, dependencies: KeeperDependencies): Promise<AuthorityKeeper> {
    const keeper = new AuthorityKeeper(config, dependencies);
    await keeper.#step({ isStart: true });
    keeper.#schedule();
    return keeper;
  }

  get state(): CaState {
    return this.#state;
  }

  /** The one that signs, and has not expired; undefined as long as there is none. */
  get signing(): Authority | undefined {
    const state = this.#state.authorities.findLast(({ stage }) => stage === 'signing');
    const authority = state && this.#authorities.get(state.id);
    return authority !== undefined && authority.endsAt > this.#now() ? authority : undefined;
  }

  /** All that are in the bundle. */
  get all(): readonly Authority[] {
    return [...this.#authorities.values()];
  }

  get(id: string): Authority | undefined {
    return this.#authorities.get(id);
  }

  /** Runs after each change. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Takes what steps are due. Called by the clock; rejects when they cannot be taken. */
  step(): Promise<void> {
    return this.#step({ isStart: false });
  }

  /** Begins a rotation to a new root of our own; resolves when it is in the bundle. Rejects with `RotationUnderWay`. */
  async rotate(overlapMs: number): Promise<void> {
    if (this.config.issuer !== undefined) throw new RotationUnderWay('the issuer is given: a new one is used when its files are exchanged');
    await this.#inTurn(() =>
      this.#change(async (state) => {
        if (state.authorities.some(({ stage }) => stage === 'published')) throw new RotationUnderWay('a new root is in the bundle already, and does not sign yet');
        return this.#publishOwn(state, overlapMs);
      }),
    );
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#turn;
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    const { clock, logger } = this.dependencies;
    const wait = Math.max(10, Math.min(pollIntervalMs, nextStepAt(this.#state) - clock.wallNow()));
    this.#timer = clock.after(wait, () => {
      void this.step()
        .catch((error: unknown) => logger.error({ err: error }, 'the certificate authority could not take its next step; trying on'))
        .finally(() => this.#schedule());
    });
  }

  #step({ isStart }: { isStart: boolean }): Promise<void> {
    return this.#inTurn(async () => {
      const { document, leadership } = this.dependencies;
      const text = await document.read();
      if (text !== this.#text && text !== undefined) await this.#take(text);
      if (!leadership.isLeader) return;
      const given = await this.#readGiven(isStart);
      const longestLifeMs = this.#longestLifeMs();
      await this.#change(async (state) => {
        let next = state;
        if (given !== undefined && !next.authorities.some(({ id, stage }) => id === given.id && stage !== 'retired')) {
          next = publish(next, { id: given.id, source: 'given', ...given.material }, { now: this.#now(), overlapMs: overlapOf(this.config), longestLifeMs });
        }
        if (this.config.issuer === undefined && this.#needsRoot(next)) next = await this.#publishOwn(next, overlapOf(this.config));
        return this.#advance(lengthen(next, longestLifeMs));
      });
    });
  }

  /** The issuer that is configured, if its files changed. Files that cannot be used are an error at the start, and left out later; an issuer that has expired is left out at any time. */
  async #readGiven(isStart: boolean): Promise<Authority | undefined> {
    const { issuer, root } = this.config;
    if (issuer === undefined) return undefined;
    try {
      const [chain, key, rootPem] = await Promise.all([issuer.cert, issuer.key, root!].map(async (file) => (await readFileBounded(file)).toString()));
      const text = [chain, key, rootPem].join('\0');
      if (text === this.#given) return undefined;
      const authority = await Authority.open({ chain: chain!, key: key!, root: rootPem! });
      if (authority.endsAt <= this.#now()) {
        this.dependencies.logger.error({ endsAt: new Date(authority.endsAt).toISOString() }, 'the issuer has expired: it signs nothing; put a new one in place of its files');
        return undefined;
      }
      this.#given = text;
      return authority;
    } catch (error) {
      if (isStart) throw error;
      this.dependencies.logger.error({ reason: (error as Error).message }, 'the new issuer cannot be used; the old one stays');
      return undefined;
    }
  }

  /** Whether a new root of our own is due: there is none, or the newest is in the last part of its life. */
  #needsRoot({ authorities }: CaState): boolean {
    const newest = authorities.findLast(({ stage, source }) => stage !== 'retired' && source === 'own');
    if (newest === undefined) return true;
    const root = this.#authorities.get(newest.id)?.root;
    if (root === undefined) return false;
    const end = Date.parse(root.validTo);
    const lastPart = Math.max((end - Date.parse(root.validFrom)) / 5, overlapOf(this.config) + this.config.certificateLifetime + this.config.clockSkew);
    return end - this.#now() < lastPart;
  }

  async #publishOwn(state: CaState, overlapMs: number): Promise<CaState> {
    const { trustDomain, rootLifetimeDays, clockSkew } = this.config;
    const now = this.#now();
    const authority = await Authority.createRoot({ trustDomain, now, lifetimeMs: rootLifetimeDays * 86_400_000, skewMs: clockSkew, random: this.dependencies.random });
    return this.#advance(publish(state, { id: authority.id, source: 'own', ...authority.material }, { now, overlapMs, longestLifeMs: this.#longestLifeMs() }));
  }

  #advance(state: CaState): CaState {
    const now = this.#now();
    return advance(state, { now, skewMs: this.config.clockSkew, hasEnded: (id) => (this.#authorities.get(id)?.endsAt ?? Infinity) <= now });
  }

  /** Puts a new state in force: on disk first, then here. */
  async #change(make: (state: CaState) => Promise<CaState>): Promise<void> {
    const { document } = this.dependencies;
    for (let conflicts = 0; conflicts < maxConflicts; conflicts++) {
      const next = await make(this.#state);
      if (next === this.#state) return;
      const text = JSON.stringify(next);
      if (await document.replace(this.#text, text)) return this.#take(text);
      const present = await document.read();
      if (present !== undefined) await this.#take(present);
    }
    throw new Error('another control plane changes the certificate authority all the time');
  }

  async #take(text: string): Promise<void> {
    const state = parseState(text, this.config.trustDomain);
    const authorities = new Map<string, Authority>();
    for (const { id, chain, root, key } of state.authorities) authorities.set(id, this.#authorities.get(id) ?? (await Authority.open({ chain, root, key })));
    for (const { id, stage } of state.authorities) {
      if (this.#state.authorities.find((before) => before.id === id)?.stage !== stage) this.dependencies.logger.info({ authority: id, stage, endsAt: new Date(authorities.get(id)!.endsAt).toISOString() }, 'an authority of the mesh has a new stage');
    }
    for (const { id } of this.#state.authorities) if (!authorities.has(id)) this.dependencies.logger.info({ authority: id }, 'an authority of the mesh is gone: all that it signed has expired');
    this.#text = text;
    this.#state = state;
    this.#authorities = authorities;
    for (const listener of this.#listeners) listener();
  }

  #longestLifeMs(): number {
    return Math.max(this.config.certificateLifetime, this.config.joinTokenMaxTtl);
  }

  #now(): number {
    return this.dependencies.clock.wallNow();
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(run);
    this.#turn = result.catch(() => {});
    return result;
  }
}
