import type { HeaderChangesConfig, HeadersConfig } from '../../config/shaping.js';
import { aliasRemoval, withHyphens } from '../../http/field-aliases.js';
import type { Headers } from '../../http/headers.js';
import type { HttpResponse } from '../../http/message.js';
import type { Layer } from '../../http/service.js';
import { filterTrailers, removal, withoutTrailers } from '../../http/trailer-filter.js';

/**
 * Removes, sets and adds header fields, in this order; of requests on their way to the upstream and of its answers. Errors
 * that this proxy answers with are left as they are. Of a request, what an application may read as a field that is removed or set goes
 * first: nobody gets around a change by writing `X_Tenant` for `X-Tenant`. Nor by sending it behind the body: what is removed or set is
 * no trailer, of answers too. What frames or routes a message was refused with the configuration.
 */
export function headerChanges({ request: requestChanges, response: responseChanges }: HeadersConfig): Layer {
  const removeAliases = requestChanges && aliasRemoval(changedNames(requestChanges));
  const withTrailersLeft = requestChanges && withoutTrailers(ruled(requestChanges), removeAliases);
  const changeRequest = requestChanges && changer(requestChanges);
  const changeResponse = responseChanges && changer(responseChanges);
  const withoutChanged = responseChanges && removal(ruled(responseChanges));
  const changed = (response: HttpResponse): HttpResponse => {
    changeResponse!(response.headers);
    if (withoutChanged === undefined || response.body.whole !== undefined) return response;
    return { ...response, body: filterTrailers(response.body, withoutChanged) };
  };
  return (next) =>
    function headerChanges(request, exchange) {
      removeAliases?.(request.headers);
      changeRequest?.(request.headers);
      const answer = next(withTrailersLeft?.(request) ?? request, exchange);
      return changeResponse === undefined ? answer : answer.then(changed);
    };
}

/** What a message carries as `set` says, or not at all. */
function ruled({ remove, set }: HeaderChangesConfig): string[] {
  return [...remove, ...Object.keys(set)];
}

/** Whoever removes `X_Tenant` means that spelling, and leaves `X-Tenant`; whoever sets it means that no other is read. */
function changedNames({ remove, set }: HeaderChangesConfig): string[] {
  return [...remove, ...remove.map(withHyphens), ...Object.keys(set)];
}

function changer({ remove, set, add }: HeaderChangesConfig): (headers: Headers) => void {
  const removeNames = removal(remove);
  const replaced = Object.entries(set);
  const added = Object.entries(add);
  return (headers) => {
    removeNames?.(headers);
    for (const [name, value] of replaced) headers.set(name, value);
    for (const [name, value] of added) headers.append(name, value);
  };
}
