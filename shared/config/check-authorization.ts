import { isObject } from './is-object.js';
import type { Problem } from './load.js';

/*
 * What no schema of single values can see about authorization: rules that can never decide anything, or that need what is not
 * there. A rule that silently never matches is a hole, or a door that is shut, so each is a problem. Takes any document, also a wrong one.
 */

type Section = Readonly<Record<string, unknown>>;

/** Where an authorization stands. */
interface AuthorizationPlace {
  /** Path of the section that has it. */
  readonly path: string;
  /** The route, inbound section, TCP listener or policy that has it. */
  readonly own: Section;
  /** Whether tokens are checked before it. */
  readonly hasTokens: boolean;
  /** Whether callers can prove an identity there; undefined: nothing here says. */
  readonly hasIdentities: boolean | undefined;
}

export function checkAuthorization({ path: at, own, hasTokens, hasIdentities }: AuthorizationPlace): Problem[] {
  const { authorization } = own;
  if (!isObject(authorization)) return [];
  const path = `${at}.authorization`;
  const rules = (Array.isArray(authorization['rules']) ? (authorization['rules'] as unknown[]) : []).map((rule) => (isObject(rule) ? rule : {}));
  const letsAllIn = authorization['default'] === 'allow';
  return rules.flatMap((rule, index) => {
    const here = `${path}.rules[${index}]`;
    return [
      ...checkAlone(rule, here, letsAllIn, rules.length),
      ...checkAmong(rule, here, rules.slice(0, index), rules),
      ...(hasTokens ? [] : ['claims', 'notClaims'].filter((key) => rule[key] !== undefined).map((key) => ({ path: `${here}.${key}`, message: 'nothing is known of claims without jwt in the same place' }))),
      ...(hasIdentities === false ? unprovable(rule).map((key) => ({ path: `${here}.from.${key}`, message: 'no caller proves an identity here: the listener asks for no certificates' })) : []),
    ];
  });
}

/** Whether a listener asks its clients for certificates. */
export function asksForCertificates(listen: unknown): boolean {
  return isObject(listen) && isObject(listen['tls']) && listen['tls']['clientAuth'] !== undefined;
}

function checkAlone(rule: Section, path: string, letsAllIn: boolean, count: number): Problem[] {
  const problems: Problem[] = [];
  const isAllow = rule['action'] === 'allow';
  if (isAllow && letsAllIn) problems.push({ path: `${path}.action`, message: 'an allow rule changes nothing where the default is allow' });
  if (isAllow && rule['dryRun'] === true) problems.push({ path: `${path}.dryRun`, message: 'is for deny rules: what an allow rule that does not count lets in is refused all the same. Try it with dryRun of the whole' });
  if (Object.keys(conditions(rule)).length === 0) {
    if (isAllow && !letsAllIn) problems.push({ path, message: 'lets everything in, so that the default is never reached: default: allow says the same' });
    if (rule['action'] === 'deny' && rule['dryRun'] !== true && count > 1) problems.push({ path, message: 'refuses everything, whatever the other rules say: a condition is missing, or default: deny without rules says the same' });
  }
  const { from, ...rest } = conditions(rule);
  for (const [prefix, section] of [['', rest], ['from.', isObject(from) ? from : {}]] as const) {
    for (const [key, excluded] of Object.entries(section).filter(([name]) => name.startsWith('not'))) {
      const positive = key.charAt(3).toLowerCase() + key.slice(4);
      const wanted = section[positive];
      const unwanted = new Set(texts(excluded));
      if (wanted !== undefined && texts(wanted).every((text) => unwanted.has(text))) problems.push({ path: `${path}.${prefix}${key}`, message: `excludes all of ${positive}: the rule never matches` });
    }
  }
  return problems;
}

function checkAmong(rule: Section, path: string, before: readonly Section[], all: readonly Section[]): Problem[] {
  const problems: Problem[] = [];
  if (typeof rule['name'] === 'string' && before.some(({ name }) => name === rule['name'])) problems.push({ path: `${path}.name`, message: `another rule goes by the name "${rule['name']}"` });
  const key = JSON.stringify(conditions(rule));
  const same = (others: readonly Section[], action: string): Section | undefined => others.find((other) => other !== rule && other['action'] === action && other['dryRun'] !== true && JSON.stringify(conditions(other)) === key);
  const twin = same(before, String(rule['action']));
  if (twin !== undefined) problems.push({ path, message: `says the same as rule "${String(twin['name'])}"` });
  const stronger = rule['action'] === 'allow' ? same(all, 'deny') : undefined;
  if (stronger !== undefined) problems.push({ path, message: `never lets anything in: rule "${String(stronger['name'])}" refuses exactly the same, and goes first` });
  return problems;
}

/** The conditions of a rule, in one order. */
function conditions(rule: Section): Section {
  return Object.fromEntries(Object.entries(rule).filter(([key, value]) => !outline.includes(key) && value !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const outline = ['name', 'action', 'dryRun'];

/** The values of a condition, each as a text that tells it from the others. */
function texts(values: unknown): string[] {
  if (isObject(values)) return Object.entries(values).flatMap(([name, value]) => [value].flat().map((one) => JSON.stringify([name, one])));
  return Array.isArray(values) ? values.map((value) => JSON.stringify(value)) : [];
}

const provenByCertificate = ['identities', 'notIdentities', 'namespaces', 'notNamespaces', 'services', 'notServices'];

function unprovable({ from }: Section): string[] {
  return isObject(from) ? provenByCertificate.filter((key) => from[key] !== undefined) : [];
}
