import type { Worker } from 'node:cluster';

/** Words of node:cluster and its worker to each other, as far as they are read here. They are its own and not documented. */
interface ClusterWord {
  readonly cmd?: unknown;
  readonly act?: unknown;
  readonly seq?: unknown;
  readonly ack?: unknown;
}

/**
 * Closes the connections that a worker was handed and has not answered for when it dies.
 *
 * node:cluster holds a connection in this process until the worker has said that it has it, and waits for ever for a worker that is
 * dead: the client would hang, and its descriptor never be closed. Both words go through the worker's channel, where they
 * are noted: two steps a connection, none a request. When everything that the worker said has been read, node:cluster is
 * told in its place that it has them, upon which it closes its side. They are not handed to another worker: an answer
 * can be lost while the connection was already being read.
 *
 * Words that look different are passed on and not noted, and all is as it would be without this.
 */
export function closeUnanswered(worker: Worker): void {
  const channel = worker.process;
  // What could not be forked for want of descriptors has no channel.
  if (typeof channel.send !== 'function') return;
  const send = channel.send.bind(channel) as (...words: unknown[]) => boolean;
  const disconnect = channel.disconnect.bind(channel);
  const unanswered = new Set<unknown>();
  channel.send = (...words: unknown[]) => {
    const [word, connection] = words;
    if (connection !== undefined && isConnection(word)) unanswered.add(word.seq);
    return send(...words);
  };
  channel.on('internalMessage', ({ ack }: ClusterWord) => unanswered.delete(ack));
  // While a connection is on its way, node does not tell node:cluster of the channel's end: it would go on to choose this worker, and lose what it gives it.
  channel.disconnect = () => {
    disconnect();
    worker.disconnect();
  };
  // It has exited, and its channel has been read to the end.
  channel.once('close', () => {
    for (const ack of unanswered) channel.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack, accepted: true });
  });
}

function isConnection(word: unknown): word is ClusterWord {
  const { cmd, act, seq } = (word ?? {}) as ClusterWord;
  return cmd === 'NODE_CLUSTER' && act === 'newconn' && typeof seq === 'number';
}
