import { RE2JS } from 're2js';
import { z } from 'zod';

/*
 * Regular expressions in configuration are RE2's: matched in time that grows with the length of the text and with
 * nothing else, so that no pattern, however it is written, lets a client's header or path hold the proxy up. What RE2
 * has not (look-around, back references) is refused when the configuration is read.
 */

const maxLength = 512;
/** Instructions of the compiled program: time is at most proportional to it, `[a-z]{1000}` has a thousand. */
const maxProgramSize = 2_000;

/** A regular expression in RE2's syntax. Stays text: what uses it compiles it once. */
export const pattern = z
  .string()
  .min(1)
  .max(maxLength)
  .superRefine((text, context) => {
    const wrong = whatIsWrongWith(text);
    if (wrong !== undefined) context.addIssue({ code: 'custom', message: `expected a regular expression in RE2’s syntax: ${wrong}`, input: text });
  })
  .meta({ description: 'A regular expression in RE2’s syntax: no look-around, no back references.' });

function whatIsWrongWith(text: string): string | undefined {
  try {
    const size = RE2JS.compile(text).programSize();
    return size > maxProgramSize ? `it compiles to ${size} steps, more than ${maxProgramSize}` : undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
