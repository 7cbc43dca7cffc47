import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/*
 * Proxies have one processor, load and origin another: the first two that this process may use, which in a container need not be 0 and 1.
 */

/** Numbers of processors in a list as the kernel writes it: `0-2,5` (cpuset(7)). */
export function processorsIn(list: string): number[] {
  return list.trim().split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number) as [number, number?];
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** Before this process sees one alone. */
const allowed = processorsIn(/^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]!);

export const canPin = allowed.length >= 2 && spawnSync('taskset', ['-V']).error === undefined;

/** The first `count` of them, as `taskset -c` takes them; a proxy has the first. */
export const firstProcessors = (count: number): string => allowed.slice(0, count).join(',');
export const loadProcessor = String(allowed[1]);

/** What is wrong with the processors that there are, if anything is. */
export const lackOfProcessors = allowed.length >= 2 ? undefined : `the bench needs two processors, one for the proxy and one for load and origin; this process may use ${allowed.join(', ')} alone (Cpus_allowed_list in /proc/self/status)`;
