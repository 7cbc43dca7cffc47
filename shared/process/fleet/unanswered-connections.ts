import type { Worker } from 'node:cluster';

/** Words of node:cluster and its worker to each other, as far as they are read here. They are its own and not documented. */
interface ClusterWord {
  readonly cmd?: unknown;
  readonly act?: unknown;
  readonly seq?: unknown;
  readonly ack?: unknown;
}

export interface HandOverHooks {
  /** Hears of each connection that was closed since the living worker had no descriptor for it. */
  readonly onRefusal?: () => void;
  /** Whether the worker, whose channel has ended, keeps its ports open for another, until `release`. Asked once. */
  readonly standsIn?: () => boolean;
}

export interface HandOvers {
  /** Connections that the worker was handed and has not answered for. */
  readonly unanswered: ReadonlySet<unknown>;
  /** One that stood in does not any more: others have what waits, or, where nobody else listens, it is closed, and the port too. */
  release(): void;
}

/**
 * Closes the connections that a worker was handed and cannot answer for: it is dead, or had no descriptor left for one.
 *
 * node:cluster holds a connection in this process until the worker has said that it has it, and gives the worker no other meanwhile. It waits for ever for
 * a worker that is dead, and for one that got the words without the connection: the client would hang, its descriptor never be closed, and
 * the worker be out of service for good. All words go through the worker's channel, where they are noted: three steps a connection, none a
 * request. Of those on their way, which come one at a time, the channel says whether each has arrived. Of one that has not, and of all others when
 * everything that a dead worker said has been read, node:cluster is told in the worker's place that it has them, upon which it closes its side.
 * None is handed to another worker: an answer can be lost while the connection was already being read, and where descriptors run out in one
 * worker they are scarce in the others.
 *
 * Words that look different are passed on and not noted, and all is as it would be without this.
 *
 * node:cluster closes a port when the last worker that listens there is gone. A dead worker can stand in for the next: node:cluster is not told that its channel
 * has ended, and so the port stays open. What comes meanwhile waits here; of each port, the stand-in itself is handed one connection, which it
 * gives back at the end.
 */
export function closeUnanswered(worker: Worker, { onRefusal, standsIn }: HandOverHooks = {}): HandOvers {
  const channel = worker.process;
  const unanswered = new Set<unknown>();
  // What could not be forked for want of descriptors has no channel.
  if (typeof channel.send !== 'function') return { unanswered, release: () => {} };
  const send = channel.send.bind(channel) as (...words: unknown[]) => boolean;
  const disconnect = channel.disconnect.bind(channel);
  /** Handed, and not arrived yet; the first is on its way, the others wait for it. */
  const sent: unknown[] = [];
  /** What it was handed since it stands in. */
  let held: unknown[] | undefined;
  const answer = (ack: unknown, accepted: boolean): void => void channel.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack, accepted });
  channel.send = (...words: unknown[]) => {
    const [word, connection] = words;
    if (held !== undefined) {
      if (isConnection(word)) held.push(word.seq);
      return true;
    }
    // In its place there may also be what is to be called back.
    if (typeof connection === 'object' && connection !== null) {
      const seq = isConnection(word) ? word.seq : undefined;
      if (seq !== undefined) unanswered.add(seq);
      sent.push(seq);
    }
    return send(...words);
  };
  channel.on('internalMessage', ({ cmd, ack }: ClusterWord) => {
    unanswered.delete(ack);
    if (cmd !== 'NODE_HANDLE_ACK' && cmd !== 'NODE_HANDLE_NACK') return;
    const seq = sent.shift();
    if (cmd === 'NODE_HANDLE_ACK' || !unanswered.has(seq)) return;
    onRefusal?.();
    answer(seq, true);
  });
  // While a connection is on its way, node does not tell node:cluster of the channel's end: it would go on to choose this worker, and lose what it gives it.
  channel.disconnect = () => {
    if (standsIn?.() === true) {
      held = [];
      return;
    }
    disconnect();
    worker.disconnect();
  };
  // It has exited, and its channel has been read to the end.
  channel.once('close', () => unanswered.forEach((seq) => answer(seq, true)));
  const release = (): void => {
    if (held === undefined) return;
    // The channel itself was closed when it ended.
    Object.assign(channel, { connected: false });
    worker.disconnect();
    for (const seq of held.splice(0)) answer(seq, false);
  };
  return { unanswered, release };
}

function isConnection(word: unknown): word is ClusterWord {
  const { cmd, act, seq } = (word ?? {}) as ClusterWord;
  return cmd === 'NODE_CLUSTER' && act === 'newconn' && typeof seq === 'number';
}
