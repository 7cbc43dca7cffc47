/** The direct forms of `buffer.toString('latin1', …)`, `buffer.toString('hex', …)` and `buffer.write(…, 'latin1')`: Node has had them since version 1. */
interface Buffer {
  latin1Slice(start?: number, end?: number): string;
  hexSlice(start?: number, end?: number): string;
  latin1Write(text: string, offset?: number, length?: number): number;
}
