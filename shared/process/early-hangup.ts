/* Imported first by every process: a SIGHUP that nobody listens to ends it, and whoever watches its files may send one while it is still being loaded. */

let hasCome = false;
const note = (): void => void (hasCome = true);
process.on('SIGHUP', note);

/** Whether one has come so far. Whoever asks listens from now on. */
export function earlyHangup(): boolean {
  process.off('SIGHUP', note);
  return hasCome;
}
