import type { Clock } from '../../clock/clock.js';
import { TimeoutQueue, type Expirable } from '../../clock/timeout-queue.js';
import type { MirrorConfig } from '../../config/shaping.js';
import { WholeBody, type Body } from '../../http/body.js';
import { Cancellation } from '../../http/cancellation.js';
import { Exchange } from '../../http/exchange.js';
import type { Headers } from '../../http/headers.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Layer, Service } from '../../http/service.js';
import { CopiedBody } from './copied-body.js';
import { shadowAuthority } from './shadow-authority.js';

/**
 * What became of a request that was to be copied. `answered`: the copy got an answer, whatever it was. `failed`, `timed_out`: it got none.
 * Not sent at all: `too_large`; `overflow`, as many copies as may be are under way; `incomplete`, the request's
 * body was never whole.
 */
export type MirrorOutcome = 'answered' | 'failed' | 'timed_out' | 'too_large' | 'overflow' | 'incomplete';

interface MirrorDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** `attempts`: how many were sent to the upstream of the copies. */
  readonly onOutcome?: (outcome: MirrorOutcome, attempts: number) => void;
}

/** An answer beyond it is cut off: nobody reads it. */
const maxAnswerBytes = 1_048_576;

/**
 * Sends a copy of a share of the requests to another upstream, and forgets its answer.
 *
 * The original goes first and never waits: the copy is made of what is in memory anyway, a body that is still to come is
 * collected while it passes, up to `maxBodyBytes`, and sent when it is whole. At most `maxInFlight` copies are collected
 * or under way, each for at most `timeout`. A copy goes on when the original's client leaves, and is
 * one attempt at one endpoint, past the retries and deadline of its upstream.
 *
 * A copy has `-shadow` behind the host in `Host`, as Envoy's has, and `X-Shadow: true`.
 */
export function mirror(config: MirrorConfig, shadow: Service, { clock, random, onOutcome }: MirrorDependencies): Layer {
  const { percent, maxBodyBytes, maxInFlight } = config;
  const flights = new TimeoutQueue(clock, config.timeout);
  let inFlight = 0;

  function send({ request, headers, of }: Original, body: Body): void {
    const flight = new Flight();
    flights.add(flight);
    const copy = { ...request, headers, body, cancellation: flight };
    const exchange = copiedExchange(of, copy, clock.now());
    const settle = (outcome: MirrorOutcome): void => {
      if (exchange.finishedAt !== undefined) return;
      exchange.finish(clock.now());
      flights.remove(flight);
      inFlight--;
      onOutcome?.(flight.isCancelled ? 'timed_out' : outcome, exchange.attempts);
    };
    shadow(copy, exchange).then((response) => drain(response, settle), () => settle('failed'));
  }

  return (next) =>
    function mirror(request, exchange) {
      // A connection that switches protocols is no request that could be copied.
      if (request.upgrade !== undefined || (percent < 100 && random() * 100 >= percent)) return next(request, exchange);
      const { body } = request;
      if (body.length !== undefined && body.length > maxBodyBytes) {
        onOutcome?.('too_large', 0);
        return next(request, exchange);
      }
      if (inFlight >= maxInFlight) {
        onOutcome?.('overflow', 0);
        return next(request, exchange);
      }
      inFlight++;
      // Copied before the original is sent, which may change its fields.
      const original = { request, headers: shadowHeaders(request), of: exchange };
      const { whole } = body;
      if (whole !== undefined) {
        const answer = next(request, exchange);
        send(original, whole);
        return answer;
      }
      const copied = new CopiedBody(body, maxBodyBytes, (outcome) => {
        if (typeof outcome !== 'string') {
          send(original, new WholeBody(outcome));
          return;
        }
        inFlight--;
        onOutcome?.(outcome, 0);
      });
      exchange.onFinish(() => copied.abandon());
      return next({ ...request, body: copied }, exchange);
    };
}

interface Original {
  readonly request: HttpRequest;
  readonly headers: Headers;
  readonly of: Exchange;
}

/** A copy is an exchange of its own, which no listener sees. */
function copiedExchange(original: Exchange, request: HttpRequest, now: number): Exchange {
  const exchange = new Exchange('mirror', original.clientAddress, now);
  exchange.request = request;
  exchange.requestId = original.requestId;
  exchange.trace = original.trace;
  exchange.caller = original.caller;
  return exchange;
}

/** One copy on its way: what cancels it, and its place in the queue. */
class Flight extends Cancellation implements Expirable {
  next: Expirable | undefined;
  previous: Expirable | undefined;
  expiresAt = 0;

  onExpire(): void {
    this.cancel(new Error('the copy took too long'));
  }
}

function shadowHeaders({ headers, authority }: HttpRequest): Headers {
  const copy = headers.clone();
  copy.set('Host', shadowAuthority(authority));
  copy.set('X-Shadow', 'true');
  // The body of the copy is whole when it goes out.
  copy.delete('expect');
  return copy;
}

/** Reads an answer that nobody wants, so that its connection can be used again; one that is long is cut off. */
function drain({ body, tunnel }: HttpResponse, settle: (outcome: MirrorOutcome) => void): void {
  tunnel?.destroy();
  let left = maxAnswerBytes;
  body.pipe({
    chunk(data) {
      left -= data.length;
      if (left >= 0) return true;
      settle('answered');
      body.cancel(tooLong);
      return false;
    },
    end: () => settle('answered'),
    fail: () => settle('failed'),
  });
}

const tooLong = new Error('the answer to a copy was cut off');
