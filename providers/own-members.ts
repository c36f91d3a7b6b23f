/** Members of a request that is written anew which no step of its own takes care of. Spec: fidelity 10, Dn. */
import type { JsonObject } from '../src/contract/json.ts';
import { refuse } from './openai-draft.ts';
import type { FateTable } from './openai-fates.ts';
import { asksForNothing } from './openai-request.ts';

type Rewrite = { readonly source: JsonObject; readonly body: JsonObject; drop(path: string): void };

type Rules = {
  /** These have steps of their own. */
  written: ReadonlySet<string>;
  fates: FateTable;
  /** The dialect's own, which go as sent. */
  own: ReadonlySet<string>;
};

export function passOwnMembers(draft: Rewrite, { written, fates, own }: Rules): void {
  for (const [key, value] of Object.entries(draft.source)) {
    if (value === undefined || value === null || written.has(key)) continue;
    const fate = Object.hasOwn(fates, key) ? fates[key] : undefined;
    if (fate === undefined && own.has(key)) draft.body[key] = value;
    else if (asksForNothing(key, value)) continue;
    else if (fate === 'refused') refuse(key);
    else draft.drop(key);
  }
}
