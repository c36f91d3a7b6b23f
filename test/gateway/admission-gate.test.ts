/** What the gate does with each answer of an engine, whichever engine it is. */
import t, { type Test } from 'tap';
import { endlessLease } from '../../src/admission/endless-lease.ts';
import type {
  AdmitRequest,
  AdmitResult,
  AuthStamp,
  BudgetCheck,
  BudgetState,
  GovernedEngine,
} from '../../src/contract/admission.ts';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { GatewayError, gatewayError } from '../../src/contract/errors.ts';
import type { Principal } from '../../src/contract/flow.ts';
import { createAdmissionGate, type AdmissionGate } from '../../src/gateway/admission-gate.ts';
import { createMetrics, type Metrics } from '../../src/platform/metrics.ts';
import { usageRecord } from '../support/usage-record.ts';

const none = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };
const budget: BudgetCheck = { scope: 'account:a1', period: 'daily', limitNanoUsd: 100, costNanoUsd: 10 };
const engineMs = 1_790_000_000_000;
const admitted: AdmitResult = { outcome: 'admitted', buckets: [] };

const principal = (key: number): Principal => ({
  accountId: 'a1',
  keyId: 'k1',
  tier: { id: 'pro', priceUsd: '49', limits: none, historyDays: 30, models: '*' },
  keyLimits: none,
  keyModels: '*',
  authVersion: { account: 1, key },
});

type World = {
  gate: AdmissionGate;
  engine: GovernedEngine;
  metrics: Metrics;
  /** What was asked of the engine and of the rows, in order. */
  calls: string[];
  asked: AdmitRequest[];
};

function createWorld(
  answers: AdmitResult[],
  {
    spent = async (): Promise<number> => 42,
    checkAuth = 'ok',
  }: { spent?: () => Promise<number>; checkAuth?: 'ok' | 'stale_auth' | 'unavailable' } = {},
): World {
  const calls: string[] = [];
  const asked: AdmitRequest[] = [];
  const metrics = createMetrics();
  const engine: GovernedEngine = {
    async admit(request) {
      calls.push('admit');
      asked.push(request);
      return answers.shift() ?? admitted;
    },
    async checkAuth(accountId, { keyVersion }) {
      calls.push(`check ${accountId} ${keyVersion}`);
      return checkAuth;
    },
    async raiseAuthVersion(accountId, { account, key }) {
      calls.push(`raise ${accountId} ${account} ${key?.id} ${key?.version}`);
      return true;
    },
    async seedBudget(accountId, { scope, period }, spentNanoUsd, atMs) {
      t.equal(atMs, engineMs);
      calls.push(`seed ${accountId} ${scope} ${period} ${spentNanoUsd}`);
    },
    readBudget: async () => ({ state: 'unknown', atMs: engineMs }),
    adjustBudget: async () => false,
    inspect: async () => null,
    leaseOf: () => endlessLease,
    markDispatched() {},
    reportProgress() {},
    settle: async () => {},
    openLeases: () => 0,
    close: async () => {},
  };
  const spentNanoUsd = async (): Promise<number> => {
    calls.push('sum');
    return spent();
  };
  return { gate: createAdmissionGate({ engine, metrics, spentNanoUsd }), engine, metrics, calls, asked };
}

function prepare({ accountId, keyId, authVersion }: Principal): { ask: AdmitRequest } {
  const auth: AuthStamp = { keyId, accountVersion: authVersion.account, keyVersion: authVersion.key };
  return { ask: { id: 'r1', accountId, buckets: [], concurrency: [], budgets: [budget], auth, record: usageRecord() } };
}

const caller = (reload: () => Promise<Principal> = async () => principal(2)) => ({ principal: principal(1), reload });

async function refusalOf(t: Test, promise: Promise<unknown>): Promise<GatewayError> {
  const error: unknown = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof GatewayError) return error;
  t.fail(`expected a refusal, got ${String(error)}`);
  throw new Error('no refusal');
}

t.test('lets pass what the engine admits, with one question', async (t) => {
  const { gate, calls, metrics } = createWorld([admitted]);
  const entered = await gate.enter(caller(), prepare);
  t.equal(entered.admitted, admitted);
  t.same(calls, ['admit']);
  t.match(await metrics.registry.metrics(), 'tollgate_decisions_total{mode="enforced"} 1');
});

t.test('reads the caller again when the engine knows of a newer key, and asks with what it read', async (t) => {
  const { gate, calls, asked } = createWorld([{ outcome: 'stale_auth' }, admitted]);
  const entered = await gate.enter(caller(), prepare);
  t.same(calls, ['admit', 'raise a1 1 k1 2', 'admit']);
  t.same(
    asked.map(({ auth }) => auth?.keyVersion),
    [1, 2],
  );
  t.equal(entered.prepared.ask, asked[1]);
});

t.test('says 503 when the key is still old after it was read again', async (t) => {
  const { gate, calls } = createWorld([{ outcome: 'stale_auth' }, { outcome: 'stale_auth' }, admitted]);
  const error = await refusalOf(t, gate.enter(caller(), prepare));
  t.match(error, { status: 503, code: 'auth_unavailable' });
  t.match(error.headers, { 'retry-after': '1' });
  t.equal(calls.filter((call) => call === 'admit').length, 2);
});

t.test('tells what the second look at the key says, and asks the engine no more', async (t) => {
  const revoked = async (): Promise<Principal> => {
    throw gatewayError('invalidApiKey', { message: 'revoked' });
  };
  const { gate, calls } = createWorld([{ outcome: 'stale_auth' }]);
  t.match(await refusalOf(t, gate.enter(caller(revoked), prepare)), { status: 401 });
  t.same(calls, ['admit']);
});

t.test('sums the rows once for all who wait, when nobody knows what was spent', async (t) => {
  const needed: AdmitResult = { outcome: 'need_seed', budgets: [budget, { ...budget, period: 'total' }] };
  const { gate, calls } = createWorld([needed, { outcome: 'need_seed', budgets: [budget] }]);
  await Promise.all([gate.enter(caller(), prepare), gate.enter(caller(), prepare)]);
  t.same(calls.slice(0, 2), ['admit', 'admit']);
  t.same(calls.filter((call) => call.startsWith('seed')).toSorted(), [
    'seed a1 account:a1 daily 42',
    'seed a1 account:a1 total 42',
  ]);
  t.equal(calls.filter((call) => call === 'sum').length, 2);
});

t.test('reads the key and the rows when the engine asks for one after the other', async (t) => {
  const { gate, calls } = createWorld([{ outcome: 'stale_auth' }, { outcome: 'need_seed', budgets: [budget] }]);
  await gate.enter(caller(), prepare);
  t.same(calls, ['admit', 'raise a1 1 k1 2', 'admit', 'sum', 'seed a1 account:a1 daily 42', 'admit']);
});

t.test('goes by the clock of the engine at midnight, whichever of the two is behind', async (t) => {
  const midnightMs = Date.UTC(2026, 8, 22);
  /** What the rows of each day add up to. */
  const spentBy = (atMs: number): number => (atMs < midnightMs ? 100 : 30);
  const cases = [
    { name: 'before it', engineTimes: [-1, -1, -1, -1], sums: [100], used: 100 },
    { name: 'behind it', engineTimes: [0, 0, 0, 0], sums: [30], used: undefined },
    { name: 'it comes between sum and seed', engineTimes: [-1, -1, 0, 0, 0, 0, 0], sums: [100, 30], used: undefined },
    { name: 'it comes behind the seed', engineTimes: [-1, -1, -1, 0], sums: [100], used: undefined },
  ];
  for (const { name, engineTimes, sums, used } of cases) {
    const times = [0, ...engineTimes.map((time) => midnightMs + time)];
    const clock = { nowMicros: () => (times.length > 1 ? (times.shift() ?? 0) : (times[0] ?? 0)) * 1000 };
    const engine = createInProcessEngine({
      clock,
      sink: { append: () => {}, hasRoom: () => true },
      every: () => () => {},
    });
    await engine.raiseAuthVersion('a1', { account: 1, key: { id: 'k1', version: 1 } });
    const asked: number[] = [];
    const gate = createAdmissionGate({
      engine,
      metrics: createMetrics(),
      spentNanoUsd: async (_accountId, _budget, atMs) => {
        asked.push(spentBy(atMs));
        return spentBy(atMs);
      },
    });
    const entering = gate.enter(caller(), prepare);
    if (used === undefined) t.equal((await entering).admitted.outcome, 'admitted', name);
    else t.match(await refusalOf(t, entering), { status: 429 }, name);
    t.same(asked, sums, name);
    await engine.close();
  }
});

t.test('says 503 when the rows cannot be summed, never that the budget is used up', async (t) => {
  const { gate } = createWorld([{ outcome: 'need_seed', budgets: [budget] }], {
    spent: async () => Promise.reject(new Error('the store is down')),
  });
  const error = await refusalOf(t, gate.enter(caller(), prepare));
  t.match(error, { status: 503, code: 'limits_unavailable' });
  t.match(error.headers, { 'retry-after': '1' });
});

t.test('says 503 when a budget is still unknown after it was told', async (t) => {
  const needed: AdmitResult = { outcome: 'need_seed', budgets: [budget] };
  const { gate } = createWorld([needed, needed, needed, admitted]);
  t.match(await refusalOf(t, gate.enter(caller(), prepare)), { status: 503, code: 'limits_unavailable' });
});

t.test('counts what is refused by its reason, and what could not be decided', async (t) => {
  const { gate, metrics } = createWorld([
    {
      outcome: 'rejected',
      rule: 'budget',
      scope: 'key:k1',
      limit: 5,
      used: 5,
      requested: 1,
      waitMs: null,
      buckets: [],
    },
    { outcome: 'unavailable', reason: 'limits_unavailable' },
    { outcome: 'unavailable', reason: 'journal_full' },
  ]);
  t.match(await refusalOf(t, gate.enter(caller(), prepare)), { status: 429, type: 'insufficient_quota' });
  t.match(await refusalOf(t, gate.enter(caller(), prepare)), { status: 503, code: 'limits_unavailable' });
  t.match(await refusalOf(t, gate.enter(caller(), prepare)), { status: 503, code: 'journal_full' });
  const text = await metrics.registry.metrics();
  for (const reason of ['budget', 'unavailable', 'journal_full'])
    t.match(text, `tollgate_rejections_total{reason="${reason}"} 1`);
  t.match(text, 'tollgate_decisions_total{mode="unavailable"} 2');
});

t.test('checks a caller who needs no admission, and reads them again only when they are old', async (t) => {
  const good = createWorld([]);
  t.same(await good.gate.verify({ ...caller(), isFresh: () => false }), principal(1));
  t.same(good.calls, ['check a1 1']);
  const old = createWorld([], { checkAuth: 'stale_auth' });
  t.same(await old.gate.verify({ ...caller(), isFresh: () => true }), principal(2));
  t.same(old.calls, ['check a1 1', 'raise a1 1 k1 2']);
});

t.test('goes by a fresh snapshot, and by no other, when the engine cannot be reached', async (t) => {
  const { gate } = createWorld([], { checkAuth: 'unavailable' });
  t.same(await gate.verify({ ...caller(), isFresh: () => true }), principal(1));
  const error = await refusalOf(t, gate.verify({ ...caller(), isFresh: () => false }));
  t.match(error, { status: 503, code: 'auth_unavailable' });
});

t.test('looks at every limit without a cost, and first sums what nobody knew', async (t) => {
  const known: BudgetState[] = [];
  const { gate, calls, engine } = createWorld([]);
  const asked: Parameters<GovernedEngine['inspect']>[0][] = [];
  engine.inspect = async (request) => {
    asked.push(request);
    return { buckets: [], concurrency: [], budgets: known };
  };
  const caller = principal(1);
  const limits = { ...none, requestsPerMinute: 5, budgets: { daily: 100 } };
  await gate.look({ ...caller, keyLimits: limits });
  t.same(calls, ['sum', 'seed a1 key:k1 daily 42']);
  t.match(asked[0], { accountId: 'a1', budgets: [{ scope: 'key:k1', period: 'daily', costNanoUsd: 0 }] });
  t.equal(asked.length, 2);
  known.push({ scope: 'key:k1', period: 'daily', limitNanoUsd: 100, remainingNanoUsd: 58, resetsAtMs: 0 });
  t.match(await gate.look({ ...caller, keyLimits: limits }), { budgets: [{ remainingNanoUsd: 58 }] });
  t.equal(asked.length, 3, 'what is known is not summed again');
  engine.inspect = async () => null;
  t.equal(await gate.look(caller), null);
});
