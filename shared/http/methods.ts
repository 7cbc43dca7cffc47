import { METHODS } from 'node:http';

/** Each known method, to itself: a string whose comparison costs nothing. */
export const methods: ReadonlyMap<string, string> = new Map(METHODS.map((method) => [method, method]));
