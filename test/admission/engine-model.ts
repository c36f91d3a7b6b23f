/** Random operations against an engine and the oracle side by side; every answer and every row must be equal. */
import type { Test } from 'tap';
import type { AdmitRequest, BudgetCheck, SettlementKind } from '../../src/contract/admission.ts';
import type { UsageRank, UsageRecord } from '../../src/contract/flow.ts';
import {
  range,
  requestId,
  settlement,
  startMs,
  suiteTimes,
  usageRecord,
  type OpenWorld,
  type Replica,
} from './engine-world.ts';
import { createLimitModel, type ExpectedRow } from './limit-model.ts';

type ModelReplica = Replica & { progress: Map<string, number>; beatAtMs: number };

const scopes = ['account:a1', 'key:k1', 'key:k2', 'key:k3'] as const;
const answers = [
  'admitted',
  'rejected by requests',
  'rejected by concurrency',
  'rejected by budget',
  'never',
  'finished',
  'stale_auth',
  'need_seed',
  'adjusted',
] as const;
const statuses = ['orphaned', 'not_dispatched', 'ok', 'unknown'] as const;
/** Rates whose refill step divides a millisecond: there the oracle's exact time and the engine's whole steps agree. */
const rates = [60, 120, 600, 1200, 6000] as const;

export function runEngineModel(t: Test, openWorld: OpenWorld, options: { operations: number; seed: number }): void {
  void t.test(`equals the model over ${options.operations} random operations with seed ${options.seed}`, async (t) => {
    const world = await openWorld();
    t.teardown(() => world.close());
    const random = createRandom(options.seed);
    let nowMs = startMs;
    let serial = 0;
    const model = createLimitModel(() => nowMs);
    const replicas = [await newReplica(), await newReplica()];
    const outcomes = new Map<string, number>();
    const newest = { account: 1, key: 1 };

    for (let operation = 0; operation < options.operations; operation += 1) {
      const replica = random.pick(replicas);
      const difference = await step(replica);
      if (difference !== null) {
        t.same(difference.found, difference.wanted, `operation ${operation} with seed ${options.seed}`);
        return;
      }
    }
    t.comment([...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', '));
    for (const name of [...answers, ...statuses]) {
      t.ok((outcomes.get(name) ?? 0) > 0, `${name} occurred`);
    }

    async function newReplica(): Promise<ModelReplica> {
      return Object.assign(await world.createReplica(), { progress: new Map<string, number>(), beatAtMs: nowMs });
    }

    async function step(replica: ModelReplica): Promise<{ found: unknown; wanted: unknown } | null> {
      const dice = random.below(100);
      if (dice < 35) return admitSome(replica);
      if (dice < 37) return lookAt(replica);
      if (dice < 39) return random.below(2) === 0 ? raiseOne(replica) : adjustOne(replica);
      if (dice < 65) return settleOne(replica);
      if (dice < 76) return markOne(replica);
      if (dice < 80) return reportOne(replica);
      if (dice === 80 && random.below(4) === 0) return moveClock(random.below(30 * 3_600_000));
      if (dice < 97) return moveClock(dice === 80 ? -random.below(4000) : random.below(7000));
      if (dice < 99) return reap(replica);
      return random.below(2) === 0 ? crash(replica) : null;
    }

    async function admitSome(replica: ModelReplica) {
      const requests = range(1 + random.below(4)).map(randomRequest);
      const found = await Promise.all(requests.map((request) => replica.engine.admit(request)));
      const wanted = requests.map((request) => model.admit(request));
      for (const [index, result] of wanted.entries()) {
        count(result.outcome === 'rejected' ? `rejected by ${result.rule}` : result.outcome);
        if (result.outcome === 'need_seed') await seedAll(replica, result.budgets);
        const id = requests[index]?.id ?? '';
        if (result.outcome === 'admitted' && !replica.progress.has(id)) replica.progress.set(id, 0);
      }
      return compare({ found, open: replica.engine.openLeases() }, { found: wanted, open: replica.progress.size });
    }

    async function seedAll(replica: ModelReplica, budgets: readonly BudgetCheck[]) {
      for (const check of budgets) {
        const spent = random.below(check.limitNanoUsd);
        await replica.engine.seedBudget('a1', check, spent);
        model.seed(check, spent);
      }
    }

    async function lookAt(replica: ModelReplica) {
      const request = randomRequest();
      return compare(await replica.engine.inspect(request), model.inspect(request));
    }

    async function adjustOne(replica: ModelReplica) {
      const budget = random.pick(randomRequest().budgets ?? []);
      const reading = await replica.engine.readBudget('a1', budget);
      const rest = model.restOf(budget);
      const spent = reading?.state === 'at_rest' ? reading.spentNanoUsd : null;
      if (reading?.state !== 'at_rest' || spent !== rest) return compare(spent, rest);
      const deltaNanoUsd = random.below(2000) - 1000;
      count('adjusted');
      model.adjust(budget, deltaNanoUsd);
      return compare(await replica.engine.adjustBudget('a1', budget, { mark: reading.mark, deltaNanoUsd }), true);
    }

    /** Mostly what is known already; now and then a change, after which old snapshots are refused. */
    async function raiseOne(replica: ModelReplica) {
      const key = random.pick(['k1', 'k2', 'k3']);
      if (random.below(30) === 0) newest.account += 1;
      if (random.below(30) === 0) newest.key += 1;
      await replica.engine.raiseAuthVersion('a1', { account: newest.account, key: { id: key, version: newest.key } });
      model.raise('a1', newest.account);
      model.raise(`a1 ${key}`, newest.key);
      return null;
    }

    async function settleOne(replica: ModelReplica) {
      const kind = random.pick(['exact', 'under', 'void'] as const satisfies SettlementKind[]);
      const rank = random.pick([0, 1, 2, 3] as const satisfies UsageRank[]);
      const plain = settlement(knownId(), kind, random.below(200), kind === 'void' ? 0 : rank);
      const costNanoUsd = kind === 'void' ? 0 : random.below(3000);
      const settled = random.below(4) === 0 ? plain : { ...plain, actual: { ...plain.actual, costNanoUsd } };
      replica.progress.delete(settled.id);
      await replica.engine.settle(settled);
      return compareRows(replica, model.settle(settled));
    }

    async function markOne(replica: ModelReplica) {
      const id = knownId();
      replica.engine.markDispatched(id, 'a1');
      await world.quiet();
      model.mark(id);
      return null;
    }

    async function reportOne(replica: ModelReplica) {
      const id = random.pick([...replica.progress.keys(), requestId(0)]);
      const tokens = random.below(500);
      replica.engine.reportProgress(id, 'a1', tokens);
      const before = replica.progress.get(id);
      if (before !== undefined) replica.progress.set(id, Math.max(before, tokens));
      return null;
    }

    async function moveClock(milliseconds: number) {
      nowMs += milliseconds;
      await world.moveClock(milliseconds);
      for (const replica of replicas) {
        if (nowMs - replica.beatAtMs < suiteTimes.heartbeatMs) continue;
        replica.beatAtMs = nowMs;
        await replica.heartbeat();
        for (const [id, tokens] of replica.progress) model.renew(id, tokens);
      }
      return null;
    }

    async function reap(replica: ModelReplica) {
      await replica.reap();
      return compareRows(replica, model.reap());
    }

    /** Another replica takes its place; its leases end by themselves. */
    async function crash(replica: ModelReplica) {
      await replica.engine.close();
      replicas[replicas.indexOf(replica)] = await newReplica();
      return null;
    }

    function compareRows(replica: ModelReplica, wanted: ExpectedRow[]) {
      for (const { status } of wanted) count(status);
      return compare(replica.rows.splice(0).map(describeRow).sort(byId), wanted.sort(byId));
    }

    function randomRequest(): AdmitRequest {
      const isNew = random.below(20) > 0;
      if (isNew) serial += 1;
      const id = isNew ? requestId(serial) : knownId();
      const account = random.pick(scopes.slice(0, 1));
      const key = random.pick(scopes.slice(1));
      const costNanoUsd = random.below(80) === 0 ? 2_000_001 : random.below(2000);
      const money = { scope: key, costNanoUsd, limitNanoUsd: random.pick([40_000, 60_000]) };
      const tokens = random.below(60) === 0 ? 6001 : random.below(150);
      return {
        id,
        accountId: 'a1',
        buckets: [
          { rule: 'requests', scope: account, capacity: 120, refillPerMinute: random.pick(rates), cost: 1 },
          { rule: 'tokens', scope: account, capacity: 6000, refillPerMinute: 6000, cost: tokens },
          { rule: 'requests', scope: key, capacity: random.pick([4, 60]), refillPerMinute: 60, cost: 1 },
        ],
        concurrency: [
          { scope: account, limit: random.pick([12, 40]) },
          { scope: key, limit: random.pick([5, 20]) },
        ],
        budgets: [
          { ...money, period: 'daily' },
          { ...money, period: random.pick(['weekly', 'monthly']), scope: account, limitNanoUsd: 2_000_000 },
          { ...money, period: 'total', limitNanoUsd: 1_000_000 + random.below(3_000_000) },
        ],
        auth: {
          keyId: key.slice('key:'.length),
          accountVersion: newest.account,
          keyVersion: Math.max(1, newest.key - (random.below(30) === 0 ? 1 : 0)),
        },
        record: usageRecord(id, 1),
        outputPicoUsd: 700,
      };
    }

    function knownId(): string {
      const openIds = replicas.flatMap(({ progress }) => [...progress.keys()]);
      if (openIds.length > 0 && random.below(2) === 0) return random.pick(openIds);
      return requestId(Math.max(1, serial - random.below(30) + (random.below(30) === 0 ? 1_000_000 : 0)));
    }

    function count(outcome: string): void {
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  });
}

const byId = (one: ExpectedRow, other: ExpectedRow): number => (one.requestId < other.requestId ? -1 : 1);

const describeRow = ({ requestId, rank, status, usage }: UsageRecord): ExpectedRow => ({
  requestId,
  rank,
  status,
  completionTokens: usage.completionTokens,
});

function compare(found: unknown, wanted: unknown): { found: unknown; wanted: unknown } | null {
  return JSON.stringify(sortKeys(found)) === JSON.stringify(sortKeys(wanted)) ? null : { found, wanted };
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, member]) => [name, sortKeys(member)]),
  );
}

/** Small and repeatable: a linear congruential generator, of which only the high bits are used. */
function createRandom(seed: number) {
  let state = seed;
  function below(limit: number): number {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 4_294_967_296) * limit);
  }
  function pick<Item>(items: readonly Item[]): Item {
    const item = items[below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }
  return { below, pick };
}
