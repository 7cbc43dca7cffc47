import { parseAllDocuments, type Document } from 'yaml';
import type { z } from 'zod';
import { ConfigError, parseConfig } from '../../shared/config/load.js';
import type { Api } from './context.js';
import { ApiError } from './problem.js';

const maxAliases = 100;

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

/** Lets bodies be YAML: one document, or several for a list. */
export function acceptYaml(api: Api): void {
  api.removeContentTypeParser('text/plain');
  api.addContentTypeParser(['application/yaml', 'application/x-yaml', 'text/yaml'], { parseAs: 'string' }, async (request: { routeOptions: { url?: string | undefined } }, body: string | Buffer): Promise<unknown> => {
    const documents = parseAllDocuments(body.toString(), { uniqueKeys: true, stringKeys: true });
    const values = (Array.isArray(documents) ? documents : []).map((document) => {
      if (document.errors.length > 0) throw notYaml();
      return valueOf(document);
    });
    if (request.routeOptions.url !== '/v1/apply') return values.length === 1 ? values[0] : undefined;
    return values.length === 1 && Array.isArray(values[0]) ? values[0] : values.filter((value) => value !== null);
  });
}

function notYaml(): ApiError {
  return new ApiError(400, 'bad_request', 'The body is not valid YAML, or has too many aliases.');
}

/** Aliases of what is not there, and of too much, come out only here. */
function valueOf(document: Document): unknown {
  try {
    return document.toJS({ maxAliasCount: maxAliases }) as unknown;
  } catch {
    throw notYaml();
  }
}
