import { z } from 'zod';

/** A method, as requests name it: it is case-sensitive (RFC 9110 section 9.1), and of those that are registered all are in capitals. */
export const method = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Z-]+$/, 'expected a method in capitals');
