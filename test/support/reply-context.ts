/** What an adapter may know of the moment, the same in every test run. */
import type { ReplyContext } from '../../src/contract/provider.ts';

export function replyContext(overrides: Partial<ReplyContext> = {}): ReplyContext {
  let drawn = 0;
  return {
    publicModel: 'public-model',
    includeUsage: false,
    created: 1_750_000_000,
    randomId: () => `${(drawn += 1)}`.padStart(24, '0'),
    ...overrides,
  };
}
