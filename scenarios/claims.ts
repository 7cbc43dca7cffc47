import { aDeadInstanceIsCutOut } from './a-dead-instance-is-cut-out/claim.js';
import { aFlakyServiceIsRetriedOnce } from './a-flaky-service-is-retried-once-not-everywhere/claim.js';
import { aHopCostsThisMuch } from './a-hop-costs-this-much/claim.js';
import { aNoisyTenantIsContained } from './a-noisy-tenant-is-contained/claim.js';
import { forgedTokensStopAtTheEdge } from './forged-tokens-stop-at-the-edge/claim.js';
import type { Claim } from './runner/claim.js';

/** Every claim, in the order in which the comparison runs them. */
export const claims: readonly Claim[] = [aHopCostsThisMuch, forgedTokensStopAtTheEdge, aNoisyTenantIsContained, aFlakyServiceIsRetriedOnce, aDeadInstanceIsCutOut];
