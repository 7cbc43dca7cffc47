import type { ValueMatch } from '../config/value-match.js';
import { cookieOf } from '../http/cookies.js';
import type { HttpRequest } from '../http/message.js';
import { valueMatcher } from './value-match.js';

/** What a request must carry beside its path, host and method. Everything that is given must hold. */
export interface Conditions {
  readonly headers?: Readonly<Record<string, ValueMatch>> | undefined;
  readonly cookies?: Readonly<Record<string, ValueMatch>> | undefined;
  readonly query?: Readonly<Record<string, ValueMatch>> | undefined;
}

export type Condition = (request: HttpRequest) => boolean;

/** Each condition as a function; none for a match that has none. */
export function conditionsOf({ headers = {}, cookies = {}, query = {} }: Conditions): readonly Condition[] {
  return [
    ...Object.entries(headers).map(([name, match]): Condition => {
      const lower = name.toLowerCase();
      const holds = valueMatcher(match);
      return (request) => holds(request.headers.get(lower));
    }),
    ...Object.entries(cookies).map(([name, match]): Condition => {
      const holds = valueMatcher(match);
      return (request) => holds(cookieOf(request.headers, name));
    }),
    ...Object.entries(query).map(([name, match]): Condition => {
      const holds = valueMatcher(match);
      return (request) => holds(queryValue(request.target, name));
    }),
  ];
}

export function allHold(conditions: readonly Condition[], request: HttpRequest): boolean {
  for (const condition of conditions) if (!condition(request)) return false;
  return true;
}

/** The first value of a query parameter, decoded as a form is (the URL standard’s reading). */
function queryValue(target: string, name: string): string | undefined {
  const question = target.indexOf('?');
  return question === -1 ? undefined : (new URLSearchParams(target.slice(question + 1)).get(name) ?? undefined);
}
