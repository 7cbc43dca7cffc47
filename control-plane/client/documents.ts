import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { isMap, isNode, isSeq, LineCounter, parseAllDocuments, type Document, type Node } from 'yaml';
import { formatProblem, type Problem } from '../../shared/config/load.js';
import { ControlPlaneError } from './client.js';

/** A resource as a file has it, and where. */
export interface ReadDocument {
  readonly value: unknown;
  readonly source: string;
  /** Line and column of the deepest part of a path that is there. */
  readonly positionOf: (path: readonly (string | number)[]) => { readonly line: number; readonly column: number };
}

/** Reads resources of YAML or JSON files, several in each if there are; `-` is stdin. Rejects with every problem of the text. */
export async function readDocuments(files: readonly string[]): Promise<ReadDocument[]> {
  const read = await Promise.all(files.map(async (file) => documentsIn(await textOf(file), file === '-' ? 'stdin' : file)));
  const documents = read.flat();
  if (documents.length === 0) throw new ControlPlaneError(`There is no resource in ${files.join(', ')}.`);
  return documents;
}

/** What the control plane says of resources, as `FILE:LINE:COLUMN: path: message`. */
export function explain(problems: readonly Problem[], documents: readonly ReadDocument[]): string[] {
  return problems.map((problem) => {
    const found = find(problem.path, documents);
    if (found === undefined) return formatProblem('resources', problem);
    const { document, path } = found;
    return formatProblem(document.source, { path: problem.path.replace(/^\[\d+\]\.?/, ''), message: problem.message, ...document.positionOf(path) });
  });
}

async function textOf(file: string): Promise<string> {
  try {
    return file === '-' ? await readAll(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    throw new ControlPlaneError(`${file}: ${code === 'ENOENT' ? 'there is no such file' : `the file cannot be read (${code})`}`);
  }
}

function documentsIn(text: string, source: string): ReadDocument[] {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, stringKeys: true });
  const documents = Array.isArray(parsed) ? parsed : [];
  const errors = documents.flatMap((document) => document.errors).map(({ message, pos }) => formatProblem(source, { path: '', message: message.split('\n', 1)[0]!.replace(/ at line \d+, column \d+:?$/, ''), ...position(lines, pos[0]) }));
  if (errors.length > 0) throw new ControlPlaneError(errors.join('\n'));
  return documents.flatMap((document) => resourcesIn(document, lines, source));
}

/** One, or with a list each of its items. */
function resourcesIn(document: Document, lines: LineCounter, source: string): ReadDocument[] {
  const { contents } = document;
  if (contents === null) return [];
  const nodes = isSeq(contents) ? contents.items.filter(isNode) : [contents as Node];
  return nodes.map((node) => ({ value: valueOf(node, document, source), source, positionOf: (path) => position(lines, offsetOf(node, path)) }));
}

function valueOf(node: Node, document: Document, source: string): unknown {
  try {
    return node.toJS(document, { maxAliasCount: 100 });
  } catch (error) {
    throw new ControlPlaneError(`${source}: ${(error as Error).message}`);
  }
}

function offsetOf(node: Node, path: readonly (string | number)[]): number {
  let current: unknown = node;
  let offset = node.range?.[0] ?? 0;
  for (const key of path) {
    if (isMap(current)) {
      const pair = current.items.find((item) => (isNode(item.key) ? String((item.key as { value?: unknown }).value) : String(item.key)) === String(key));
      if (pair === undefined) break;
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      current = pair.value;
    } else if (isSeq(current) && typeof key === 'number' && isNode(current.items[key])) {
      current = current.items[key];
      offset = (current as Node).range?.[0] ?? offset;
    } else break;
  }
  return offset;
}

/** `[2].spec.retry` is in the third document; `Policy/quota.spec` in the one of that kind and name. */
function find(path: string, documents: readonly ReadDocument[]): { document: ReadDocument; path: (string | number)[] } | undefined {
  const byIndex = /^\[(\d+)\]\.?(.*)$/.exec(path);
  if (byIndex !== null) {
    const document = documents[Number(byIndex[1])];
    return document && { document, path: keysOf(byIndex[2]!) };
  }
  const byName = /^([A-Z][a-z]+)\/([a-z0-9-]+)\.?(.*)$/.exec(path);
  const document = byName && documents.find(({ value }) => (value as { kind?: unknown } | null)?.kind === byName[1] && (value as { name?: unknown }).name === byName[2]);
  return document ? { document, path: keysOf(byName[3]!) } : undefined;
}

function keysOf(path: string): (string | number)[] {
  return [...path.matchAll(/\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|([^.[\]]+)/g)].map(([, index, quoted, plain]) => (index !== undefined ? Number(index) : (quoted ?? plain!)));
}

function position(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}
