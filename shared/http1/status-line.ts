import { STATUS_CODES } from 'node:http';

const lines: readonly string[] = Array.from({ length: 600 }, (_, status) => `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`);

/** The status line of a response, CRLF included. The reason phrase is the registered one: nobody may rely on it. */
export function statusLine(status: number): string {
  return lines[status]!;
}
