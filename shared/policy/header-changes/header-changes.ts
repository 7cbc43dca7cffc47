import type { HeaderChangesConfig, HeadersConfig } from '../../config/shaping.js';
import type { Headers } from '../../http/headers.js';
import type { HttpResponse } from '../../http/message.js';
import type { Layer } from '../../http/service.js';

/**
 * Removes, sets and adds header fields, in this order; of requests on their way to the upstream and of its answers. Errors
 * that this proxy answers with are left as they are. What frames or routes a message was refused with the configuration.
 */
export function headerChanges({ request: requestChanges, response: responseChanges }: HeadersConfig): Layer {
  const changeRequest = requestChanges && changer(requestChanges);
  const changeResponse = responseChanges && changer(responseChanges);
  const changed = (response: HttpResponse): HttpResponse => {
    changeResponse!(response.headers);
    return response;
  };
  return (next) =>
    function headerChanges(request, exchange) {
      changeRequest?.(request.headers);
      const answer = next(request, exchange);
      return changeResponse === undefined ? answer : answer.then(changed);
    };
}

function changer({ remove, set, add }: HeaderChangesConfig): (headers: Headers) => void {
  const removed = remove.map((name) => name.toLowerCase());
  const replaced = Object.entries(set);
  const added = Object.entries(add);
  return (headers) => {
    for (const name of removed) headers.delete(name);
    for (const [name, value] of replaced) headers.set(name, value);
    for (const [name, value] of added) headers.append(name, value);
  };
}
