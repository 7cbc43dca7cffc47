import getPort, { portNumbers } from 'get-port';

/* Below the ports that systems give to outgoing connections (from 32768 on with Linux, 49152 elsewhere), one of which may be any of those as its own end while a process is away. */
const lowest = 10_240;
const highest = 32_767;
/** More than a lab has, which takes the most. */
export const portsOfAProcess = 128;

/** Processes look from places of their own on, so that two that look at the same time do not find the same port: those that start together are neighbours by their ids. */
export function placeOf(pid: number): number {
  return lowest + (pid % Math.floor((highest + 1 - lowest) / portsOfAProcess)) * portsOfAProcess;
}

const place = placeOf(process.pid);
const inOrder = [...portNumbers(place, highest), ...portNumbers(lowest, place)];

/** Finds a port of loopback that nobody has, `preferred` if that is one, and that stays free while what listens on it is restarted. None is given twice by a process. */
export function freePort(preferred?: number): Promise<number> {
  return getPort({ host: '127.0.0.1', port: preferred === undefined ? inOrder : [preferred, ...inOrder], reserve: true });
}

export function freePorts(count: number): Promise<number[]> {
  return Promise.all(Array.from({ length: count }, () => freePort()));
}
