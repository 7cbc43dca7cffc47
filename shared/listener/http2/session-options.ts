import type { ServerSessionOptions } from 'node:http2';
import type { LimitsConfig } from '../../config/sections.js';

/** What node:http2 bounds by itself. Twice what is accepted, in fields and bytes: what is a little too large gets an answer instead of a reset. */
export function sessionOptions(limits: LimitsConfig): ServerSessionOptions {
  return {
    maxHeaderListPairs: 2 * limits.maxHeaders + 8,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxSettings: 32,
    // How long the head of an answer may be was for the upstream to say.
    maxSendHeaderBlockLength: 2 ** 32 - 1,
    maxSessionMemory: sessionMemoryMiB(limits.http2.maxConcurrentStreams),
    settings: { maxConcurrentStreams: limits.http2.maxConcurrentStreams, maxHeaderListSize: 2 * limits.maxHeadBytes, enablePush: false },
  };
}

/** What a window of each stream takes, and as much again for what goes out, in MiB; at least Node's default. */
function sessionMemoryMiB(streams: number): number {
  return Math.max(10, Math.ceil((streams * 2 * 65_536) / 2 ** 20));
}
