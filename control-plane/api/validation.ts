import type { FastifyContextConfig } from 'fastify';
import { Lexer, parseAllDocuments, type Document } from 'yaml';
import type { z } from 'zod';
import { ConfigError, parseConfig } from '../../shared/config/load.js';
import { namesOf } from '../../shared/config/names.js';
import type { Need } from './access.js';
import type { Api } from './context.js';
import { ApiError } from './problem.js';

const maxAliases = 100;
/** Reading YAML takes hundreds of times as long as JSON of the same size, and nothing else happens meanwhile. */
const maxYamlBytes = 262_144;
/** Of which there is one for every few bytes of a document that somebody has written. */
const maxTokens = 100_000;

/** Has every request checked by the zod schemas of its route, all problems at once, before its handler sees it. */
export function validateWithZod(api: Api): void {
  api.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => (data) => {
    try {
      return { value: parseConfig(data, schema) };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return { error: httpPart === 'body' ? error : new ConfigError(error.problems.map(({ path, message }) => ({ path: path === '' ? httpPart! : path, message }))) };
    }
  });
  // Answers are ours: their schemas are for the reader of the document.
  api.setSerializerCompiler(() => (data) => JSON.stringify(data));
}

/** Whether bodies may be YAML too: where those write who write resources. What others send, and whoever comes for a certificate, is JSON. */
export function takesYaml(need: Need | undefined): boolean {
  return need === 'write';
}

/** Lets bodies be YAML: one document, or several for a list. */
export function acceptYaml(api: Api): void {
  api.removeContentTypeParser('text/plain');
  api.addContentTypeParser(['application/yaml', 'application/x-yaml', 'text/yaml'], { parseAs: 'string', bodyLimit: maxYamlBytes }, async (request: { routeOptions: { url?: string | undefined; config: FastifyContextConfig } }, body: string | Buffer): Promise<unknown> => {
    if (!takesYaml(request.routeOptions.config.need)) throw new ApiError(415, 'unsupported_media_type', 'The body must be application/json.');
    const text = body.toString();
    if (hasTooManyTokens(text)) throw notYaml();
    // Here it would compare each key with all before it, and quote the source with each error.
    const documents = parseAllDocuments(text, { uniqueKeys: false, prettyErrors: false, stringKeys: true });
    const values = (Array.isArray(documents) ? documents : []).map((document) => {
      if (document.errors.length > 0) throw notYaml();
      return valueOf(document);
    });
    if (request.routeOptions.url !== '/v1/apply') return values.length === 1 ? values[0] : undefined;
    return values.length === 1 && Array.isArray(values[0]) ? values[0] : values.filter((value) => value !== null);
  });
}

function hasTooManyTokens(text: string): boolean {
  let count = 0;
  for (const token of new Lexer().lex(text)) if (token !== '' && ++count > maxTokens) return true;
  return false;
}

function notYaml(): ApiError {
  return new ApiError(400, 'bad_request', `The body is not valid YAML, has a key twice, or has too many aliases or parts (${maxTokens}).`);
}

/** Aliases of what is not there, and of too much, come out only here. */
function valueOf(document: Document): unknown {
  try {
    // Which of the two was meant is not known.
    if (namesOf(document).duplicates.length > 0) throw notYaml();
    return document.toJS({ maxAliasCount: maxAliases }) as unknown;
  } catch {
    throw notYaml();
  }
}
