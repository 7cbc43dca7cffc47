import { emptyBody } from './body.js';
import type { HttpRequest } from './message.js';

/** What is known of a request that could not be read, for whoever answers it, logs and counts it. */
export const unreadRequest = { method: '-', target: '-', path: '-', authority: '', scheme: 'http', body: emptyBody } as const satisfies Partial<HttpRequest>;
