import { FileOnceOnly } from '../../control-plane/sources/once-only.js';
import { systemClock } from '../../shared/clock/clock.js';

// Uses one id after the other and prints each once it is acknowledged, until it is killed.
const [, , directory, round] = process.argv;
const once = await FileOnceOnly.open(directory!, systemClock);
for (let index = 0; ; index++) {
  const id = `round-${round}-${index}`;
  if (await once.use(id, Date.now() + 3_600_000)) process.stdout.write(`${id}\n`);
}
