import { MessageChannel } from 'node:worker_threads';

/**
 * Keeps the process alive until the returned function is called. The clock's timers do not, and before the first listener is open, while the store
 * is away, nothing else would either.
 */
export function holdProcess(): () => void {
  const { port1 } = new MessageChannel();
  port1.ref();
  return () => port1.close();
}
