/** Which of several control planes does what only one may do: signing, for one. */
export interface Leadership {
  /** Whether this one leads, now. Never true at two of them at a time. */
  readonly isLeader: boolean;
  /** Base address of the leader's API; undefined while there is none, or it has not said. */
  readonly leader: string | undefined;
  /** Runs when either of them changed. Returns the unsubscription. */
  onChange(listener: () => void): () => void;
  /** Gives leadership up, so that another need not wait for the end of the lease. */
  close(): Promise<void>;
}

/** A control plane that is the only one. */
export class AlwaysLeader implements Leadership {
  readonly isLeader = true;
  readonly leader = undefined;

  onChange(): () => void {
    return () => {};
  }

  async close(): Promise<void> {}
}
