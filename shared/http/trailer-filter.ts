import type { Body, BodySink } from './body.js';
import type { Headers } from './headers.js';
import type { HttpRequest } from './message.js';
import { PassedBody } from './passed-body.js';

/**
 * A request that cannot say behind its body what is decided by its head: none of `names`, nor what `removeAliases` knows to be read as one
 * of them, is a trailer of it. There are applications that put trailers among the fields (RFC 9110 section 6.5.1 warns of them).
 */
export function withoutTrailers(names: readonly string[], removeAliases?: (headers: Headers) => void): ((request: HttpRequest) => HttpRequest) | undefined {
  const removeNames = removal(names);
  if (removeNames === undefined) return undefined;
  const filter = (trailers: Headers): void => {
    removeAliases?.(trailers);
    removeNames(trailers);
  };
  return (request) => (request.body.whole === undefined ? { ...request, body: filterTrailers(request.body, filter) } : request);
}

/** Removes every field of one of `names`; undefined where there are none. */
export function removal(names: readonly string[]): ((headers: Headers) => void) | undefined {
  if (names.length === 0) return undefined;
  const lower = names.map((name) => name.toLowerCase());
  return (headers) => {
    for (const name of lower) headers.delete(name);
  };
}

/** `body`, behind which only those trailers go out that `filter` leaves. A body that is whole has none, and is returned as it is. */
export function filterTrailers(body: Body, filter: (trailers: Headers) => void): Body {
  return body.whole === undefined ? new TrailerFilter(body, filter) : body;
}

class TrailerFilter extends PassedBody {
  constructor(
    source: Body,
    private readonly filter: (trailers: Headers) => void,
  ) {
    super(source);
  }

  pipe(sink: BodySink): void {
    this.source.pipe({
      chunk: (data) => sink.chunk(data),
      end: (trailers) => {
        if (trailers !== undefined) this.filter(trailers);
        sink.end(trailers?.size === 0 ? undefined : trailers);
      },
      fail: (reason) => sink.fail(reason),
    });
  }
}
