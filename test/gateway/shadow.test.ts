/** Rules in shadow, over both engines: they decide as always, refuse nobody, and are heard of in the metrics alone. */
import t, { type Test } from 'tap';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { planAdmission } from '../../src/admission/limits.ts';
import type { AdmitRequest, GovernedEngine } from '../../src/contract/admission.ts';
import type { MoneyLimits } from '../../src/contract/budgets.ts';
import { GatewayError } from '../../src/contract/errors.ts';
import { type Principal, usageRank } from '../../src/contract/flow.ts';
import type { LimitRule } from '../../src/contract/tier-options.ts';
import { type AdmissionGate, createAdmissionGate } from '../../src/gateway/admission-gate.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { requestId, settlement, startMs, usageRecord } from '../admission/engine-world.ts';
import { openRedisWorld } from '../admission/redis-world.ts';

const none: MoneyLimits = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };
const price = { input: 1000, cachedInput: 0, cacheWrite: 0, output: 1000, reasoning: 0 };
const spentNanoUsd = 40;

const principal = (
  limits: Partial<MoneyLimits>,
  shadow: readonly LimitRule[],
  keyLimits: Partial<MoneyLimits> = {},
): Principal => ({
  accountId: 'a1',
  keyId: 'k1',
  tier: { id: 'pro', priceUsd: '49', limits: { ...none, ...limits }, historyDays: null, models: '*', shadow },
  keyLimits: { ...none, ...keyLimits },
  keyModels: '*',
  authVersion: { account: 1, key: 1 },
});

type World = {
  engine: GovernedEngine;
  gate: AdmissionGate;
  /** Gives the id, or the refusal. */
  ask: (caller: Principal, tokens?: number) => Promise<string | GatewayError>;
  /** What rules in shadow would have refused, by rule. */
  shadowed: () => Promise<Record<string, number>>;
};

function createWorld(engine: GovernedEngine): World {
  const metrics = createMetrics();
  const gate = createAdmissionGate({ engine, metrics, spentNanoUsd: async () => spentNanoUsd });
  let serial = 0;
  return {
    engine,
    gate,
    async ask(caller, tokens = 0) {
      serial += 1;
      const id = requestId(serial);
      const prepare = (principal: Principal): { ask: AdmitRequest } => {
        const plan = planAdmission(principal, { inputTokens: tokens, outputTokens: 0, prices: [price] });
        return { ask: { ...plan, id, accountId: 'a1', record: usageRecord(id, usageRank.orphan) } };
      };
      try {
        await gate.enter({ principal: caller, reload: async () => caller }, prepare);
        return id;
      } catch (error) {
        if (error instanceof GatewayError) return error;
        throw error;
      }
    },
    async shadowed() {
      const { values } = await metrics.decisions.get();
      return Object.fromEntries(
        values.flatMap(({ labels, value }) => (labels.mode === 'shadow' ? [[String(labels.rule), value]] : [])),
      );
    },
  };
}

const engines: Record<string, (t: Test) => Promise<GovernedEngine>> = {
  'in process': async () => {
    const clock = { nowMicros: () => startMs * 1000 };
    return createInProcessEngine({ clock, sink: { append: () => {}, hasRoom: () => true }, every: () => () => {} });
  },
  redis: async (t) => {
    const world = await openRedisWorld({ boundMs: 5000 });
    t.teardown(() => world.close());
    return (await world.createReplica()).engine;
  },
};

for (const [name, open] of Object.entries(engines)) {
  t.test(name, async (t) => {
    const scenario = (title: string, body: (t: Test, world: World) => Promise<void>): void => {
      void t.test(title, async (t) => body(t, createWorld(await open(t))));
    };

    scenario('each rule admits what it would have refused, and counts it by its name', async (t, { ask, shadowed }) => {
      const caller = principal({ requestsPerMinute: 2, tokensPerMinute: 100, concurrency: 1 }, [
        'requests',
        'tokens',
        'concurrency',
      ]);
      t.type(await ask(caller, 10), 'string');
      t.same(await shadowed(), {}, 'it fits');
      t.type(await ask(caller, 10), 'string');
      t.same(await shadowed(), { concurrency: 1 });
      t.type(await ask(caller, 10), 'string');
      t.same(await shadowed(), { concurrency: 2, requests: 1 }, 'two rules at once');
      t.type(await ask(caller, 101), 'string');
      t.same(await shadowed(), { concurrency: 3, requests: 2, tokens: 1 }, 'also what could never fit');
    });

    scenario('a rule goes on as if it had refused what it would have', async (t, { ask, engine, shadowed }) => {
      const caller = principal({ concurrency: 1 }, ['concurrency']);
      const first = await ask(caller);
      for (let more = 0; more < 3; more += 1) await ask(caller);
      t.same(await shadowed(), { concurrency: 3 });
      await engine.settle(settlement(String(first), 'exact'));
      await ask(caller);
      t.same(await shadowed(), { concurrency: 3 }, 'the one that it had let in has left');
    });

    scenario('a budget is charged by what it would have refused', async (t, { ask, engine, shadowed }) => {
      const caller = principal({ budgets: { daily: 50 } }, ['budget']);
      const fits = await ask(caller, 10);
      t.same(await shadowed(), {});
      const over = await ask(caller, 10);
      t.same(await shadowed(), { budget: 1 });
      const actual = { requests: 1, tokens: 0, costNanoUsd: 10 };
      for (const id of [fits, over]) await engine.settle({ ...settlement(String(id), 'exact'), actual });
      const budgets = [{ scope: 'account:a1', period: 'daily', limitNanoUsd: 100, costNanoUsd: 0 } as const];
      const view = await engine.inspect({ accountId: 'a1', buckets: [], concurrency: [], budgets });
      t.equal(view?.budgets[0]?.remainingNanoUsd, 100 - spentNanoUsd - 20);
    });

    scenario('a budget that has spent more than there can be a limit is asked for twice at most', async (t, world) => {
      const caller = principal({ budgets: { daily: 50 } }, ['budget']);
      const budget = { scope: 'account:a1', period: 'daily' } as const;
      const reading = await world.engine.readBudget('a1', budget);
      await world.engine.seedBudget('a1', budget, 5e15, reading?.atMs ?? 0);
      t.match(await world.ask(caller, 10), { status: 429 });
    });

    scenario('what is not in shadow refuses, and then nothing is counted', async (t, { ask, shadowed }) => {
      const caller = principal({ requestsPerMinute: 1, concurrency: 1 }, ['requests']);
      await ask(caller);
      t.match(await ask(caller), { status: 429, message: /running at the same time/ });
      t.same(await shadowed(), {});
    });

    scenario("a key's own limits refuse although the tier's are in shadow", async (t, { ask, shadowed }) => {
      const caller = principal({ requestsPerMinute: 1 }, ['requests'], { requestsPerMinute: 2 });
      await ask(caller);
      await ask(caller);
      t.same(await shadowed(), { requests: 1 });
      t.match(await ask(caller), { status: 429, message: /of this API key/ });
    });

    scenario('callers are not told of limits that refuse nobody', async (t, { ask, gate }) => {
      const caller = principal({ requestsPerMinute: 1, tokensPerMinute: 5, budgets: { daily: 50 } }, [
        'tokens',
        'budget',
      ]);
      await ask(caller, 1);
      const refused = await ask(caller, 1);
      t.match(refused, { status: 429, headers: { 'x-ratelimit-limit-requests': '1' } });
      t.notMatch(refused, { headers: { 'x-ratelimit-limit-tokens': '5' } });
      const view = await gate.look(caller);
      t.same([view?.buckets.map(({ rule }) => rule), view?.budgets], [['requests'], []]);
    });
  });
}
