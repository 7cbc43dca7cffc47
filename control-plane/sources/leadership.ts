/** Which of several control planes does what only one may do. */
export interface Leadership {
  readonly isLeader: boolean;
  /** Base address of the leader's API; undefined while there is none. */
  readonly leader: string | undefined;
}
