import type { Worker } from 'node:cluster';

/** Words of node:cluster and its worker to each other, as far as they are read here. They are its own and not documented. */
interface ClusterWord {
  readonly cmd?: unknown;
  readonly act?: unknown;
  readonly seq?: unknown;
  readonly ack?: unknown;
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
 * @param onRefusal hears of each connection that a living worker could not take
 * @returns those that the worker was handed and has not answered for
 */
export function closeUnanswered(worker: Worker, onRefusal: () => void = () => {}): ReadonlySet<unknown> {
  const channel = worker.process;
  const unanswered = new Set<unknown>();
  // What could not be forked for want of descriptors has no channel.
  if (typeof channel.send !== 'function') return unanswered;
  const send = channel.send.bind(channel) as (...words: unknown[]) => boolean;
  const disconnect = channel.disconnect.bind(channel);
  /** Handed, and not arrived yet; the first is on its way, the others wait for it. */
  const sent: unknown[] = [];
  const close = (ack: unknown): void => void channel.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack, accepted: true });
  channel.send = (...words: unknown[]) => {
    const [word, connection] = words;
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
    onRefusal();
    close(seq);
  });
  // While a connection is on its way, node does not tell node:cluster of the channel's end: it would go on to choose this worker, and lose what it gives it.
  channel.disconnect = () => {
    disconnect();
    worker.disconnect();
  };
  // It has exited, and its channel has been read to the end.
  channel.once('close', () => unanswered.forEach(close));
  return unanswered;
}

function isConnection(word: unknown): word is ClusterWord {
  const { cmd, act, seq } = (word ?? {}) as ClusterWord;
  return cmd === 'NODE_CLUSTER' && act === 'newconn' && typeof seq === 'number';
}
