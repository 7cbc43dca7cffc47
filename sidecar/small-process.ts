/**
 * What a sidecar's process is started with, where there are many and each has little to do: the lab, the manifests and the bench do so.
 * Glibc gives every thread an arena of its own, and V8 a helper for each of four processors and a young generation of up to 48 MB; two
 * arenas, one helper and a young generation of 6 MB hold 10 MB less, and cost a tenth more CPU time at full load (docs/decisions/0012).
 * A gateway is better off without.
 */
export const smallProcess = { MALLOC_ARENA_MAX: '2', NODE_OPTIONS: '--max-semi-space-size=2 --v8-pool-size=1' } as const;
