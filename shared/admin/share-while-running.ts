/**
 * @returns what runs once for all who ask before it is over. It begins when everybody whose question has come already is heard: what takes no time but
 * that of this process would be over before the next question is read.
 */
export function shareWhileRunning<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= new Promise<void>((resolve) => setImmediate(resolve)).then(run).finally(() => (running = undefined));
    return running;
  };
}
