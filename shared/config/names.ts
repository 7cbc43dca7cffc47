import { isMap, isScalar, isSeq, type Document } from 'yaml';
import { pathWithin } from './path.js';

/** Where the names of a document stand in its text (offsets, by path), and which stand there twice. */
export interface Names {
  readonly offsets: ReadonlyMap<string, number>;
  readonly duplicates: readonly { readonly path: string; readonly offset: number }[];
}

/** Goes through a document once; the parser's own check for duplicates compares each name with each. */
export function namesOf(document: Document): Names {
  const offsets = new Map<string, number>();
  const duplicates: { path: string; offset: number }[] = [];
  const visit = (node: unknown, at: string): void => {
    if (isSeq(node)) {
      node.items.forEach((item, index) => visit(item, pathWithin(at, index)));
    } else if (isMap(node)) {
      for (const { key, value } of node.items) {
        const name = isScalar(key) ? String(key.value) : '';
        const path = pathWithin(at, name);
        const offset = (isScalar(key) ? key.range?.[0] : undefined) ?? 0;
        if (offsets.has(path)) duplicates.push({ path, offset });
        else offsets.set(path, offset);
        visit(value, path);
      }
    }
  };
  visit(document.contents, '');
  return { offsets, duplicates };
}
