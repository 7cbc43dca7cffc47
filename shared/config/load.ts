import type { Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { Composer, isMap, Lexer, LineCounter, Parser, type CST, type Document } from 'yaml';
import type { z } from 'zod';
import { atOnce, inTurns, type Steps } from '../clock/long-work.js';
import { namesOf } from './names.js';
import { formatPath } from './path.js';

/** One thing that is wrong with a configuration. */
export interface Problem {
  /** Where in the document: `routes[0].match.path`; empty for the document as a whole. */
  readonly path: string;
  /** What is wrong, and what would be right. */
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
}

/** A generator that is wrong once is wrong everywhere. */
const maxToldProblems = 100;

/** A configuration that cannot be used, with everything that is wrong with it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  constructor(
    readonly problems: readonly Problem[],
    readonly source = 'configuration',
  ) {
    const told = problems.slice(0, maxToldProblems).map((problem) => formatProblem(source, problem));
    if (problems.length > told.length) told.push(`${source}: and ${problems.length - told.length} more`);
    super(told.join('\n'));
  }
}

/** `FILE:LINE:COLUMN: path: message`, which editors and terminals make a link of. */
export function formatProblem(source: string, { path, message, line, column }: Problem): string {
  const position = line === undefined ? source : `${source}:${line}:${column ?? 1}`;
  return path === '' ? `${position}: ${message}` : `${position}: ${path}: ${message}`;
}

/** Finds what a schema of single values cannot: references between parts. Must take any document, also a wrong one. */
export type CrossCheck = (document: unknown) => Problem[];

const maxFileBytes = 1_048_576;

/** Reads a YAML or JSON file, validates and freezes it. Requests go on meanwhile, between the steps. Rejects with a `ConfigError` that names every problem. */
export async function loadConfig<T>(file: string, schema: z.ZodType<T>, crossCheck?: CrossCheck): Promise<T> {
  return inTurns(load(file, await readText(file), schema, crossCheck));
}

function* load<T>(file: string, text: string, schema: z.ZodType<T>, crossCheck: CrossCheck | undefined): Steps<T> {
  const lines = new LineCounter();
  const documents = yield* documentsIn(text, lines);
  const document = documents[0];
  if (document === undefined) throw new ConfigError([{ path: '', message: 'the file is empty; a configuration was expected' }], file);
  if (documents.length > 1) throw new ConfigError([{ path: '', message: 'the file holds several documents; one was expected' }], file);
  const spoilt = [...document.errors, ...document.warnings];
  if (spoilt.length > 0) {
    throw new ConfigError(spoilt.map(({ message, pos }) => ({ path: '', message: message.split('\n', 1)[0]!.replace(/ at line \d+, column \d+:?$/, ''), ...position(lines, pos[0]) })), file);
  }
  if (document.directives.yaml.version !== '1.2') throw new ConfigError([{ path: '', message: 'the file says that it is YAML 1.1, in which words and numbers mean other things; 1.2 was expected' }], file);
  if (!isMap(document.contents)) throw new ConfigError([{ path: '', message: 'the file does not hold a mapping of names to values' }], file);
  const { offsets, duplicates } = namesOf(document);
  yield;
  if (duplicates.length > 0) throw new ConfigError(duplicates.map(({ path, offset }) => ({ path, message: 'stands here a second time', ...position(lines, offset) })), file);
  const { value, problems } = yield* check(toJs(document, file), schema, crossCheck);
  if (problems.length > 0) throw new ConfigError(problems.map((problem) => locate(offsets, lines, problem)), file);
  return deepFreeze(value as T);
}

/** Validates and freezes a document that is already in memory. Throws a `ConfigError` that names every problem. */
export function parseConfig<T>(document: unknown, schema: z.ZodType<T>, crossCheck?: CrossCheck): T {
  return atOnce(parse(document, schema, crossCheck));
}

/** The same in a process that serves: requests go on meanwhile, between the steps. */
export function parseConfigInTurns<T>(document: unknown, schema: z.ZodType<T>, crossCheck?: CrossCheck): Promise<T> {
  return inTurns(parse(document, schema, crossCheck));
}

function* parse<T>(document: unknown, schema: z.ZodType<T>, crossCheck: CrossCheck | undefined): Steps<T> {
  const { value, problems } = yield* check(document, schema, crossCheck);
  if (problems.length > 0) throw new ConfigError(problems);
  return deepFreeze(value as T);
}

/** As the library's `parseAllDocuments`, of whose time most goes into tokens. */
function* documentsIn(text: string, lines: LineCounter): Steps<Document.Parsed[]> {
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    yield;
  }
  tokens.push(...parser.end());
  const documents = [...new Composer({ uniqueKeys: false, stringKeys: true }).compose(tokens)];
  yield;
  return documents;
}

async function readText(file: string): Promise<string> {
  try {
    const found = await stat(file);
    if (!found.isDirectory() && !canBeRead(found, file)) throw new ConfigError([{ path: '', message: 'this is no regular file' }], file);
    if (found.size > maxFileBytes) throw new ConfigError([{ path: '', message: `the file has ${found.size} bytes; at most ${maxFileBytes} are read` }], file);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const reasons: Readonly<Record<string, string>> = { ENOENT: 'there is no such file', EACCES: 'the file may not be read', EISDIR: 'this is a directory; a file was expected' };
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw new ConfigError([{ path: '', message: reasons[code] ?? `the file cannot be read (${code})` }], file);
  }
}

/** What else there is may have no end, or wait for a writer for ever; only what the shell connects is known to have one. */
function canBeRead(found: Stats, file: string): boolean {
  return found.isFile() || file === '/dev/stdin' || (found.isFIFO() && /^\/(?:dev|proc\/self)\/fd\/\d+$/.test(file));
}

function toJs(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new ConfigError([{ path: '', message: (error as Error).message }], file);
  }
}

function* check(document: unknown, schema: z.ZodType, crossCheck: CrossCheck | undefined): Steps<{ value: unknown; problems: Problem[] }> {
  yield;
  const result = schema.safeParse(document);
  yield;
  const problems = [...unusableNames(document), ...(result.error?.issues ?? []).flatMap((issue) => explain(issue))];
  yield;
  problems.push(...(crossCheck?.(document) ?? []));
  yield;
  return { value: result.data, problems };
}

/** Schemas pass this name over, and whoever looks it up finds what every object has. */
function unusableNames(value: unknown, path: readonly PropertyKey[] = [], seen = new Set<unknown>()): Problem[] {
  if (typeof value !== 'object' || value === null || seen.has(value)) return [];
  seen.add(value);
  return Object.entries(value).flatMap(([name, inner]) => {
    const at = [...path, Array.isArray(value) ? Number(name) : name];
    return name === '__proto__' ? [{ path: formatPath(at), message: 'this name cannot be used' }] : unusableNames(inner, at, seen);
  });
}

type Issue = z.core.$ZodIssue;

function explain(issue: Issue, at: readonly PropertyKey[] = []): Problem[] {
  const path = [...at, ...issue.path];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => ({ path: formatPath([...path, key]), message: 'unknown key' }));
  if (issue.code === 'invalid_union') {
    // The branch that got furthest is the one that was meant.
    const branches = issue.errors.filter((branch) => branch.length > 0).map((branch) => branch.flatMap((inner) => explain(inner, path)));
    const deepest = branches.sort((a, b) => depth(b) - depth(a))[0];
    if (deepest !== undefined && depth(deepest) > formatPath(path).length) return deepest;
    return [{ path: formatPath(path), message: branches.map((branch) => branch[0]!.message).filter((message, index, all) => all.indexOf(message) === index).join(', or ') || issue.message }];
  }
  if (issue.code === 'invalid_key') return [{ path: formatPath(path), message: issue.issues.map((inner) => inner.message).join(', ') }];
  const message = issue.code === 'invalid_type' && issue.input === undefined && /received undefined/.test(issue.message) ? 'is missing' : lowerFirst(issue.message);
  return [{ path: formatPath(path), message }];
}

function depth(problems: readonly Problem[]): number {
  return Math.max(...problems.map(({ path }) => path.length));
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Adds the position of the deepest part of the path that exists in the text. */
function locate(offsets: ReadonlyMap<string, number>, lines: LineCounter, problem: Problem): Problem {
  for (let path = problem.path; path !== ''; path = path.replace(/(?:\.?[\w-]+|\[[^\]]*\])$/, '')) {
    const offset = offsets.get(path.replace(/(\[\d+\])+$/, ''));
    if (offset !== undefined) return { ...problem, ...position(lines, offset) };
  }
  return problem;
}

function position(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
