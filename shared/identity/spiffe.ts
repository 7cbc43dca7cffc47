/** A workload's name in the mesh, as its certificate carries it (SPIFFE-ID, section 2; the path is Istio's and Linkerd's). */
export interface SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  /** The service, or `gateway`. */
  readonly service: string;
}

const part = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const form = new RegExp(`^spiffe://(${part}(?:\\.${part})*)/ns/(${part})/sa/(${part})$`);

/** `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE`. */
export function formatSpiffeId({ trustDomain, namespace, service }: SpiffeId): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${service}`;
}

/** Reads a name of that form; undefined for anything else, also for other SPIFFE-IDs. */
export function parseSpiffeId(uri: string): SpiffeId | undefined {
  const match = uri.length > 512 ? null : form.exec(uri);
  return match === null ? undefined : { trustDomain: match[1]!, namespace: match[2]!, service: match[3]! };
}
