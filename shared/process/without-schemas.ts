const compile = (): never => {
  throw new Error('this server has no schemas');
};

/**
 * What a Fastify whose routes have no schemas is given as its `schemaController`: it would load what compiles them, which is more than
 * the rest of it, into every sidecar. A route with a schema fails when the server starts.
 */
export const withoutSchemas = { compilersFactory: { buildValidator: compile, buildSerializer: compile } };
