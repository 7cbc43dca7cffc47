import type { Model } from '../model/model.js';
import type { Store } from '../sources/store.js';
import { expectedVersion } from './preconditions.js';
import { ApiError } from './problem.js';

/** How often a change of everything is made anew because somebody changed something meanwhile. */
const maxAttempts = 5;

/**
 * Makes a change that depends on all that is there, such as removing what is not named. Where the caller did not say what must be there
 * (`If-Match`), and somebody else is faster, it is made anew to what is there then.
 */
export async function changeWhole(store: Store, ifMatch: string | undefined, make: (to: { readonly model: Model; readonly expectedVersion: number }) => Promise<object>): Promise<object> {
  for (let attempt = 1; ; attempt++) {
    const { model, version } = store;
    try {
      return await make({ model, expectedVersion: expectedVersion({ 'if-match': ifMatch }, version) ?? version });
    } catch (error) {
      if (ifMatch !== undefined || attempt === maxAttempts || !(error instanceof ApiError && error.status === 412)) throw error;
    }
  }
}
