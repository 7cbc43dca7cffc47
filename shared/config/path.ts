/** A place in a document, as problems name it: `routes[0].match.path`. */
export function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>(pathWithin, '');
}

/** The place of what has this name, or index, in what is at a place. */
export function pathWithin(place: string, key: PropertyKey): string {
  if (typeof key === 'number') return `${place}[${key}]`;
  const name = String(key);
  if (!/^[\w-]+$/.test(name)) return `${place}[${JSON.stringify(name)}]`;
  return place === '' ? name : `${place}.${name}`;
}
