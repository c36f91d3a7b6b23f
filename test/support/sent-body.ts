/** What goes upstream when an adapter has said its changes. */
import type { JsonObject } from '../../src/contract/json.ts';
import type { ChatEndpoint, RequestEdit } from '../../src/contract/provider.ts';

type Adapted = ReturnType<ChatEndpoint['request']>;

export function sentBody(body: JsonObject, adapted: Adapted): JsonObject {
  if ('body' in adapted) return adapted.body;
  const kept = Object.entries(body).filter(([key]) => !adapted.remove.includes(key));
  return { ...Object.fromEntries(kept), ...adapted.set };
}

/** For adapters that only ever edit. */
export function editOf(adapted: Adapted): RequestEdit {
  if ('body' in adapted) throw new Error('the adapter wrote the body anew');
  return adapted;
}
