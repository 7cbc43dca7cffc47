import { aCanaryIsSteeredWhereCallsAreSent } from './a-canary-is-steered-where-calls-are-sent/claim.js';
import { aDeadInstanceIsCutOut } from './a-dead-instance-is-cut-out/claim.js';
import { aFlakyServiceIsRetriedOnce } from './a-flaky-service-is-retried-once-not-everywhere/claim.js';
import { aHedgedReadHasNoTail } from './a-hedged-read-has-no-tail/claim.js';
import { aHopCostsThisMuch } from './a-hop-costs-this-much/claim.js';
import { aLostZoneIsLeftAndTakenBack } from './a-lost-zone-is-left-and-taken-back/claim.js';
import { aNoisyTenantIsContained } from './a-noisy-tenant-is-contained/claim.js';
import { aTcpDependencyFailsOverUnseen } from './a-tcp-dependency-fails-over-unseen/claim.js';
import { callsOnOneConnectionAreSpread } from './calls-on-one-connection-are-spread/claim.js';
import { forgedTokensStopAtTheEdge } from './forged-tokens-stop-at-the-edge/claim.js';
import { nobodyWorksForAClientThatHasLeft } from './nobody-works-for-a-client-that-has-left/claim.js';
import { retriesOfThreeLayersDoNotMultiply } from './retries-of-three-layers-do-not-multiply/claim.js';
import type { Claim } from './runner/claim.js';

/** Every claim, in the order in which the comparison runs them. */
export const claims: readonly Claim[] = [
  aHopCostsThisMuch,
  forgedTokensStopAtTheEdge,
  aNoisyTenantIsContained,
  aFlakyServiceIsRetriedOnce,
  retriesOfThreeLayersDoNotMultiply,
  aDeadInstanceIsCutOut,
  aLostZoneIsLeftAndTakenBack,
  aCanaryIsSteeredWhereCallsAreSent,
  aHedgedReadHasNoTail,
  nobodyWorksForAClientThatHasLeft,
  callsOnOneConnectionAreSpread,
  aTcpDependencyFailsOverUnseen,
];
