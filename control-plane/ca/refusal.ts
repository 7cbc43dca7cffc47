/** Why a certificate is not given: the status of the answer, and one sentence for operators. */
export const refusals = {
  request_invalid: { status: 422, detail: 'The signing request cannot be used.' },
  proof_invalid: { status: 403, detail: 'The proof is not valid.' },
  proof_expired: { status: 403, detail: 'The proof is too old, or not valid yet.' },
  proof_used: { status: 403, detail: 'The join token was used before; it is good once.' },
  name_not_proven: { status: 403, detail: 'The signing request asks for another name than the proof gives.' },
  name_refused: { status: 403, detail: 'This name gets no certificates any more.' },
  keys_unavailable: { status: 503, detail: 'The keys of the token’s issuer cannot be had at the moment.' },
  not_leader: { status: 503, detail: 'Another control plane signs, and it cannot be reached from here.' },
  authority_expired: { status: 503, detail: 'No authority can sign at the moment: the last one has expired, and the next is not there yet.' },
  overloaded: { status: 503, detail: 'Too many certificates are being made at the moment.' },
} as const satisfies Record<string, { status: number; detail: string }>;
export type RefusalCode = keyof typeof refusals;

/** A certificate that is not given. The message says more than the code, and holds nothing of the proof. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  constructor(
    readonly code: RefusalCode,
    message?: string,
  ) {
    super(message === undefined ? refusals[code].detail : `${refusals[code].detail} ${message}`);
  }

  get status(): number {
    return refusals[this.code].status;
  }
}
