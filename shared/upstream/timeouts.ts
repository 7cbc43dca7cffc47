/** Time for a response to start when no configuration says (ms): Envoy's route timeout. */
export const defaultTimeoutMs = 15_000;
