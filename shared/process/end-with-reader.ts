/** Ends the process as any other program would end once its stdout has no reader any more (SIGPIPE), as with `head`; with 1 where it cannot be written for another reason. */
export function endWithReader(): void {
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 128 + 13 : 1));
}
