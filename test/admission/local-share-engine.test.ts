import t from 'tap';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { endlessLease } from '../../src/admission/endless-lease.ts';
import {
  createLocalShareEngine,
  type IntentStore,
  type LocalShareOptions,
  type SharedEngine,
} from '../../src/admission/local-share-engine.ts';
import type { AdmitRequest } from '../../src/contract/admission.ts';
import { requestId, settlement, usageRecord } from './engine-world.ts';

let serial = 0;

function request(more: Partial<AdmitRequest> = {}, tier = 'share'): AdmitRequest {
  const id = requestId((serial += 1));
  return {
    id,
    accountId: 'one',
    buckets: [],
    concurrency: [{ scope: 'account:one', limit: 4 }],
    auth: { keyId: 'key', accountVersion: 1, keyVersion: 1 },
    record: { ...usageRecord(id, 1), tier },
    ...more,
  };
}

function createSubject(more: Partial<LocalShareOptions<SharedEngine>> = {}, store: Partial<IntentStore> = {}) {
  const state = { nowMs: 10_000, silentSinceMs: 0 as number | null, hasRoom: true, replicas: 2 as number | null };
  const intents: string[] = [];
  const removed: string[] = [];
  const adopted: string[] = [];
  const settled: string[] = [];
  const messages: string[] = [];
  const engine = createInProcessEngine({
    clock: { nowMicros: () => state.nowMs * 1000 },
    sink: { append: () => undefined, hasRoom: () => true },
    every: () => () => undefined,
  });
  void engine.raiseAuthVersion('one', { account: 1, key: { id: 'key', version: 1 } });
  const subject = createLocalShareEngine({
    inner: {
      ...engine,
      admit: async (asked) =>
        state.silentSinceMs === null ? engine.admit(asked) : { outcome: 'unavailable', reason: 'limits_unavailable' },
      settle: async ({ id }) => void settled.push(id),
      adopt: ({ id }) => void adopted.push(id),
      silentSinceMs: () => state.silentSinceMs,
    } satisfies SharedEngine,
    tiers: new Set(['share']),
    replicas: { at: () => state.replicas },
    intents: {
      async write({ requestId: id }) {
        intents.push(id);
        return 'written';
      },
      remove: async ({ requestId: id }) => void removed.push(id),
      ...store,
    },
    hasRoom: () => state.hasRoom,
    log: { warn: (_, message) => messages.push(message), error: (_, message) => messages.push(message) },
    nowMs: () => state.nowMs,
    ...more,
  });
  const outcome = async (asked: AdmitRequest): Promise<string> => {
    const result = await subject.admit(asked);
    return result.outcome === 'admitted' && result.degraded !== undefined ? result.degraded : result.outcome;
  };
  return { subject, state, intents, removed, adopted, settled, messages, outcome };
}

t.test('lets the shared engine decide while it answers', async (t) => {
  const { state, intents, outcome } = createSubject();
  state.silentSinceMs = null;
  t.equal(await outcome(request()), 'admitted');
  t.same(intents, []);
});

t.test('admits its share while the shared engine is silent, after an intent and never more', async (t) => {
  const { subject, intents, adopted, settled, messages, outcome } = createSubject();
  const [first, second, third] = [request(), request(), request()];
  t.equal(await outcome(first), 'local-share');
  t.equal(await outcome(second), 'local-share');
  t.equal(await outcome(third), 'unavailable', 'which is no proof of a limit reached, so no 429');
  t.same(intents, [first.id, second.id]);
  t.same(adopted, intents);
  t.equal(subject.leaseOf(first.id), endlessLease);
  await subject.settle(settlement(first.id, 'exact', 5));
  t.same(settled, [first.id], 'the shared engine hears of its end');
  t.equal(await outcome(request()), 'local-share', 'and its slot is free');
  t.equal(messages.length, 1, 'a silence is told of once');
});

t.test('counts what the shared engine had admitted before it fell silent', async (t) => {
  const { state, outcome } = createSubject();
  state.silentSinceMs = null;
  t.equal(await outcome(request()), 'admitted');
  state.silentSinceMs = 0;
  t.equal(await outcome(request()), 'local-share');
  t.equal(await outcome(request()), 'unavailable');
});

t.test('waits for the shared engine where a share must not decide', async (t) => {
  const budget = { scope: 'account:one', period: 'daily' as const, limitNanoUsd: 1e9, costNanoUsd: 1 };
  const { auth: _, ...unstamped } = request();
  const { state, intents, outcome } = createSubject();
  t.equal(await outcome(request({}, 'closed')), 'unavailable', 'a tier that does not ask for it');
  t.equal(await outcome(request({ budgets: [budget] })), 'unavailable', 'money');
  t.equal(await outcome(unstamped), 'unavailable', 'a key that nothing says is current');
  t.equal(await outcome(request({ concurrency: [{ scope: 'account:one', limit: 1 }] })), 'unavailable', 'half a slot');
  state.hasRoom = false;
  t.equal(await outcome(request()), 'unavailable', 'a full queue of rows');
  state.hasRoom = true;
  state.replicas = null;
  t.equal(await outcome(request()), 'unavailable', 'an unknown number of others');
  state.replicas = 2;
  state.nowMs = 1_999;
  t.equal(await outcome(request()), 'unavailable', 'a hiccup');
  state.nowMs = 300_000;
  t.equal(await outcome(request()), 'unavailable', 'five minutes');
  state.nowMs = 299_999;
  t.equal(intents.length, 0);
  t.equal(await outcome(request()), 'local-share', 'and not a moment earlier');
});

t.test('has the caller read again whose key is no longer what it was, and keeps no slot for it', async (t) => {
  let answer: 'written' | 'stale_auth' = 'stale_auth';
  const { adopted, outcome } = createSubject({}, { write: async () => answer });
  for (const _ of [1, 2, 3]) t.equal(await outcome(request()), 'stale_auth');
  t.same(adopted, []);
  answer = 'written';
  t.equal(await outcome(request()), 'local-share');
});

t.test('refuses when the intent fails or is late, and takes back what may have landed', async (t) => {
  const late = Promise.withResolvers<'written'>();
  const answers: (() => Promise<'written'>)[] = [
    () => Promise.reject(new Error('no database')),
    () => late.promise,
    async () => 'written',
    async () => 'written',
  ];
  const { adopted, removed, outcome } = createSubject(
    { boundMs: 5 },
    { write: () => answers.shift()?.() ?? Promise.reject(new Error('asked too often')) },
  );
  const failed = request();
  t.equal(await outcome(failed), 'unavailable');
  const slow = request();
  t.equal(await outcome(slow), 'unavailable');
  t.same(adopted, []);
  t.same(removed, [failed.id], 'only its answer may have been lost');
  late.resolve('written');
  await new Promise((resolve) => setImmediate(resolve));
  t.same(removed, [failed.id, slow.id]);
  t.equal(await outcome(request()), 'local-share');
  t.equal(await outcome(request()), 'local-share', 'no slot was lost');
});
