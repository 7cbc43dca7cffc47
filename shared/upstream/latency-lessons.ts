import { ProxyError } from '../errors/proxy-error.js';
import type { HttpRequest } from '../http/message.js';
import type { PeakEwma } from './peak-ewma.js';

/** A clock reading (ms) without the time in which the client sent the request: what lies between two of them is the endpoint's. */
export function withoutSending({ body: { arrival } }: HttpRequest, now: number): number {
  return arrival === undefined ? now : now - arrival.sendingMs(now);
}

/**
 * What an answer teaches: how long it took, unless more of the request was on its way, and its client would say how long; of a failure that it was
 * one, which is often faster than the work it stands for. `startedAt`: when the attempt began, without sending.
 */
export function learnFromAnswer(latency: PeakEwma, request: HttpRequest, isFailure: boolean, startedAt: number, now: number): void {
  if (isFailure) latency.observeFailure(withoutSending(request, now) - startedAt, now);
  else if (request.body.arrival?.isComplete !== false) latency.observe(withoutSending(request, now) - startedAt, now);
}

/**
 * What an attempt teaches that ended without an answer: a failure of the endpoint's that it was one. One that was given up, by its client, by its caller's
 * deadline or for another, would have taken longer, if it was the endpoint's turn: nobody is to blame, but one that hangs is not as fast as it was.
 * `startedAt` is `Infinity` for what was still in line.
 */
export function learnFromFailure(latency: PeakEwma, request: HttpRequest, error: unknown, startedAt: number, now: number): void {
  const { cancellation, body } = request;
  if (error instanceof ProxyError && error.blamesUpstream) latency.observeFailure(withoutSending(request, now) - startedAt, now);
  else if (cancellation.isCancelled && body.arrival?.isOwed !== true) latency.observeAtLeast(withoutSending(request, now) - startedAt, now);
}
