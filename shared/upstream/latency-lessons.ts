import type { HttpRequest } from '../http/message.js';
import type { PeakEwma } from './peak-ewma.js';

/** A clock reading (ms) without the time in which the client sent the request: what lies between two of them is the endpoint's. */
export function withoutSending({ body: { arrival } }: HttpRequest, now: number): number {
  return arrival === undefined ? now : now - arrival.sendingMs(now);
}

/** What an answer teaches: how long it took, unless more of the request was on its way, and its client would say how long. `startedAt`: when the attempt began, without sending. */
export function learnFromAnswer(latency: PeakEwma, request: HttpRequest, startedAt: number, now: number): void {
  if (request.body.arrival?.isComplete !== false) latency.observe(withoutSending(request, now) - startedAt, now);
}

/** What a failure teaches that is the endpoint's. */
export function learnFromFailure(latency: PeakEwma, request: HttpRequest, startedAt: number, now: number): void {
  latency.observeFailure(withoutSending(request, now) - startedAt, now);
}
