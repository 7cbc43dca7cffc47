/** How long a test waits for what is to happen (ms): what comes later than that does not come. */
export const patienceMs = 120_000;

/** Resolves and rejects as `event` does; rejects with what `state` says if it is not there in time. */
export async function patiently<T>(event: Promise<T>, state: () => string): Promise<T> {
  let timer: NodeJS.Timeout;
  const lost = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error(`waited in vain: ${state()}`)), patienceMs)));
  return Promise.race([event, lost]).finally(() => clearTimeout(timer));
}
