/**
 * A normalised path as its server will read it.
 *
 * One path, one spelling. The listener has normalised the path (shared/http1/target.ts): no dot segments, no double slashes, no
 * parameters, no escaped slash. What is left are escapes of characters that need none for some and do for others (`%3A`, `%21`), and
 * that every server decodes. So what routes and rules are compared with is the decoded text.
 */
export function decodedPath(path: string): string {
  if (!path.includes('%')) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    // No UTF-8: what is not, becomes a replacement character, and the rest can still be matched.
    const bytes = path.replace(/%([0-9A-F]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
    return Buffer.from(bytes, 'latin1').toString('utf8');
  }
}
