import type { AuthorizationConfig, AuthorizationRule } from '../../config/authorization.js';
import { decodedPath } from '../../http/decoded-path.js';
import type { Exchange, Refusal } from '../../http/exchange.js';
import type { HttpRequest } from '../../http/message.js';
import { conditionsOf, type Condition } from './conditions.js';

export type Decision = 'allowed' | 'denied' | 'would_deny';

/** How often something was decided: a plain number, read when the metrics are. */
export interface Tally {
  count: number;
}

/** What a rule, or the default, decides: made once. */
export interface Verdict {
  readonly decision: Decision;
  readonly tally: Tally;
  /** What the log is told of a request that is refused, or would be. */
  readonly refusal: Refusal | undefined;
}

interface Rule {
  readonly conditions: readonly Condition[];
  readonly verdict: Verdict;
}

/**
 * Decides about requests: any deny rule that matches refuses; else any allow rule that matches lets in; else the default says.
 *
 * Deny rules that are only tried are asked last, and only about requests that are let in. Nothing is allocated for a request whose path
 * has no escapes.
 */
export function ruleSet(config: AuthorizationConfig, tallyOf: (decision: Decision, rule: string) => Tally): (request: HttpRequest, exchange: Exchange) => Verdict {
  const verdict = (name: string, action: 'allow' | 'deny', isDryRun: boolean): Verdict => {
    const decision = action === 'allow' ? 'allowed' : isDryRun ? 'would_deny' : 'denied';
    return { decision, tally: tallyOf(decision, name), refusal: action === 'allow' ? undefined : { rule: name, isDryRun } };
  };
  const rulesOf = (action: 'allow' | 'deny', isTried: boolean): readonly Rule[] =>
    config.rules
      .filter((rule) => rule.action === action && isTried === (rule.dryRun && !config.dryRun))
      .map((rule: AuthorizationRule) => ({ conditions: conditionsOf(rule), verdict: verdict(rule.name, action, config.dryRun || rule.dryRun) }));
  const rules = [...rulesOf('deny', false), ...rulesOf('allow', false)];
  const tried = rulesOf('deny', true);
  const otherwise = verdict('default', config.default, config.dryRun);
  return (request, exchange) => {
    const path = decodedPath(request.path);
    const decided = firstThatMatches(rules, request, exchange, path) ?? otherwise;
    return decided.refusal !== undefined || tried.length === 0 ? decided : (firstThatMatches(tried, request, exchange, path) ?? decided);
  };
}

function firstThatMatches(rules: readonly Rule[], request: HttpRequest, exchange: Exchange, path: string): Verdict | undefined {
  for (const { conditions, verdict } of rules) if (allHold(conditions, request, exchange, path)) return verdict;
  return undefined;
}

function allHold(conditions: readonly Condition[], request: HttpRequest, exchange: Exchange, path: string): boolean {
  for (const condition of conditions) if (!condition(request, exchange, path)) return false;
  return true;
}
