/** Money: held at admission, settled to the cost of the row, and gone with its period. Spec: reliability 2.4, A3. */
import type { BudgetCheck, BudgetPeriod, Settlement } from '../../src/contract/admission.ts';
import {
  admitRequest,
  range,
  requestId,
  settlement,
  startMs,
  type EngineWorld,
  type Scenario,
} from './engine-world.ts';

const budget = (costNanoUsd: number, changes: Partial<BudgetCheck> = {}): BudgetCheck => ({
  scope: 'account:a1',
  period: 'daily',
  limitNanoUsd: 1000,
  costNanoUsd,
  ...changes,
});

const costing = (serial: number, ...budgets: BudgetCheck[]) => admitRequest(requestId(serial), { budgets });

function paid(serial: number, kind: Settlement['kind'], costNanoUsd: number, rank?: 0 | 1 | 2 | 3): Settlement {
  const settled = settlement(requestId(serial), kind, 0, rank);
  return { ...settled, actual: { ...settled.actual, costNanoUsd } };
}

async function remaining(world: EngineWorld, check: BudgetCheck = budget(0)): Promise<number | undefined> {
  const { engine } = await world.createReplica();
  const view = await engine.inspect({ accountId: 'a1', buckets: [], concurrency: [], budgets: [check] });
  return view?.budgets[0]?.remainingNanoUsd;
}

export function runBudgetScenarios(scenario: Scenario): void {
  scenario('asks what was spent before it takes any money, and believes the first who says', async (t, world) => {
    const { engine } = await world.createReplica();
    const weekly = budget(100, { period: 'weekly' });
    await engine.seedBudget('a1', weekly, 0);
    t.same(await engine.admit(costing(1, weekly, budget(100))), { outcome: 'need_seed', budgets: [budget(100)] });
    t.equal(engine.openLeases(), 0);
    await engine.seedBudget('a1', budget(100), 250.5);
    await engine.seedBudget('a1', budget(100), 900);
    t.match(await engine.admit(costing(1, weekly, budget(100))), {
      outcome: 'admitted',
      budgets: [
        { period: 'weekly', remainingNanoUsd: 900 },
        { period: 'daily', scope: 'account:a1', limitNanoUsd: 1000, remainingNanoUsd: 649 },
      ],
    });
  });

  scenario('admits exactly 10 when 50 requests of 100 race for a budget of 1000', async (t, world) => {
    const [{ engine: one }, { engine: other }] = [await world.createReplica(), await world.createReplica()];
    await one.seedBudget('a1', budget(0), 0);
    const results = await Promise.all(
      range(50).map((serial) => (serial % 2 === 0 ? one : other).admit(costing(serial, budget(100)))),
    );
    t.equal(results.filter((result) => result.outcome === 'admitted').length, 10);
    t.equal(results.filter((result) => result.outcome === 'rejected' && result.rule === 'budget').length, 40);
  });

  const resets: [BudgetPeriod, number | null][] = [
    ['daily', Date.UTC(2026, 8, 22)],
    ['weekly', Date.UTC(2026, 8, 28)],
    ['monthly', Date.UTC(2026, 9, 1)],
    ['total', null],
  ];
  for (const [period, resetsAtMs] of resets) {
    scenario(`refuses what a ${period} budget cannot pay until it resets`, async (t, world) => {
      const { engine } = await world.createReplica();
      const check = budget(600, { period, scope: 'key:k1' });
      await engine.seedBudget('a1', check, 100);
      t.match(await engine.admit(costing(1, check)), { budgets: [{ remainingNanoUsd: 300, resetsAtMs }] });
      const waitMs = resetsAtMs === null ? null : resetsAtMs - startMs;
      t.same(await engine.admit(costing(2, check)), {
        outcome: 'rejected',
        rule: 'budget',
        scope: 'key:k1',
        limit: 1000,
        used: 700,
        requested: 600,
        waitMs,
        buckets: [],
      });
      if (waitMs === null) return;
      await world.moveClock(waitMs - 1);
      t.match(await engine.admit(costing(3, check)), { outcome: 'rejected', waitMs: 1 });
      await world.moveClock(1);
      t.match(await engine.admit(costing(3, check)), { outcome: 'admitted', budgets: [{ remainingNanoUsd: 400 }] });
    });
  }

  scenario('knows the months of a leap year and the turn of a year', async (t, world) => {
    const { engine } = await world.createReplica();
    const check = budget(1000, { period: 'monthly' });
    await engine.seedBudget('a1', check, 0);
    let nowMs = startMs;
    for (const [year, month] of [
      [2026, 11],
      [2027, 0],
      [2028, 1],
      [2028, 2],
      [2099, 11],
      [2100, 1],
    ] as const) {
      const lastDayMs = Date.UTC(year, month + 1, 1) - 86_400_000;
      await world.moveClock(lastDayMs - nowMs);
      nowMs = lastDayMs;
      const name = `${year}-${month + 1}`;
      t.equal((await engine.admit(costing(year * 12 + month, check))).outcome, 'admitted', name);
      t.match(await engine.admit(costing(1, check)), { outcome: 'rejected', waitMs: 86_400_000 }, name);
    }
  });

  scenario('says that waiting does not help when the limit is 0 or below the cost', async (t, world) => {
    const { engine } = await world.createReplica();
    await engine.seedBudget('a1', budget(0), 0);
    for (const check of [budget(1, { limitNanoUsd: 0 }), budget(0, { limitNanoUsd: 0 }), budget(1001)]) {
      t.match(await engine.admit(costing(1, check)), { outcome: 'rejected', rule: 'budget', waitMs: null });
    }
  });

  scenario('settles to what the request really cost, whatever its kind', async (t, world) => {
    const { engine } = await world.createReplica();
    await engine.seedBudget('a1', budget(0), 0);
    for (const serial of range(3)) await engine.admit(costing(serial, budget(300)));
    await engine.settle(paid(0, 'exact', 50));
    await engine.settle(paid(1, 'under', 20));
    await engine.settle(paid(2, 'void', 0));
    t.equal(await remaining(world), 930);
    await engine.settle(paid(1, 'exact', 500));
    t.equal(await remaining(world), 450, 'a better settlement moves it by the difference');
    await engine.settle(paid(1, 'exact', 900));
    t.equal(await remaining(world), 450);
  });

  scenario('charges the cost of the row, rounded up, when the settlement does not say it', async (t, world) => {
    const { engine } = await world.createReplica();
    await engine.seedBudget('a1', budget(0), 0);
    await engine.admit(costing(1, budget(300)));
    const settled = settlement(requestId(1), 'exact', 0);
    await engine.settle({ ...settled, record: { ...settled.record, costPicoUsd: 41_001 } });
    t.equal(await remaining(world), 958);
  });

  scenario('spends more than the limit when requests cost more than was held, and then refuses', async (t, world) => {
    const { engine } = await world.createReplica();
    await engine.seedBudget('a1', budget(0), 0);
    await engine.admit(costing(1, budget(300)));
    await engine.settle(paid(1, 'exact', 2500));
    t.equal(await remaining(world), 0);
    t.match(await engine.admit(costing(2, budget(1))), { outcome: 'rejected', used: 2500 });
    t.match(await engine.admit(costing(3, budget(1, { limitNanoUsd: 2501 }))), { outcome: 'admitted' });
  });

  scenario('leaves the new period alone when a request of the old one is settled', async (t, world) => {
    const { engine, heartbeat } = await world.createReplica();
    const monthly = budget(300, { period: 'monthly' });
    await engine.seedBudget('a1', budget(0), 0);
    await engine.seedBudget('a1', monthly, 0);
    await engine.admit(costing(1, budget(300), monthly));
    await world.moveClock(Date.UTC(2026, 8, 22) - startMs);
    await heartbeat();
    await engine.admit(costing(2, budget(100), { ...monthly, costNanoUsd: 100 }));
    await engine.settle(paid(1, 'exact', 250));
    t.equal(await remaining(world), 900);
    t.equal(await remaining(world, monthly), 650);
  });

  scenario('charges an orphan what its row says, and gives back what never went upstream', async (t, world) => {
    const { engine } = await world.createReplica();
    const other = await world.createReplica();
    await engine.seedBudget('a1', budget(0), 0);
    for (const serial of [1, 2]) await engine.admit(costing(serial, budget(300)));
    engine.markDispatched(requestId(1), 'a1');
    await world.quiet();
    await engine.close();
    await world.moveClock(30_000);
    await other.reap();
    t.equal(await remaining(world), 999, '1000 pico-USD are one nano-USD');
  });

  scenario('takes nothing from any budget when another check fails', async (t, world) => {
    const { engine } = await world.createReplica();
    const weekly = budget(300, { period: 'weekly', limitNanoUsd: 200 });
    await engine.seedBudget('a1', budget(0), 0);
    await engine.seedBudget('a1', weekly, 0);
    t.match(await engine.admit(costing(1, budget(300), weekly)), { outcome: 'rejected', rule: 'budget', limit: 200 });
    const slot = admitRequest(requestId(2), { concurrency: 0, budgets: [budget(300)] });
    t.match(await engine.admit(slot), { outcome: 'rejected', rule: 'concurrency' });
    t.equal(await remaining(world), 1000);
  });

  scenario('shows what is left of every limit and takes nothing', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { requestsPerMinute: 10, tokensPerMinute: 1000, tokens: 100, concurrency: 3 };
    const request = admitRequest(requestId(1), { ...limits, budgets: [budget(300)] });
    await engine.seedBudget('a1', budget(0), 0);
    await engine.admit(request);
    const unseeded = budget(0, { period: 'total' });
    for (const _ of range(2)) {
      t.same(await engine.inspect({ ...request, budgets: [unseeded, budget(0)] }), {
        buckets: [
          { rule: 'requests', scope: 'account:a1', limit: 10, remaining: 9, windowMs: 60_000 },
          { rule: 'tokens', scope: 'account:a1', limit: 1000, remaining: 900, windowMs: 60_000 },
        ],
        concurrency: [{ scope: 'account:a1', limit: 3, used: 1 }],
        budgets: [
          {
            scope: 'account:a1',
            period: 'daily',
            limitNanoUsd: 1000,
            remainingNanoUsd: 700,
            resetsAtMs: Date.UTC(2026, 8, 22),
          },
        ],
      });
    }
  });

  scenario('believes no sum of a period that has passed meanwhile, nor of one that has not begun', async (t, world) => {
    const { engine } = await world.createReplica();
    const dayMs = 86_400_000;
    for (const atMs of [startMs - dayMs, startMs + dayMs]) {
      await engine.seedBudget('a1', budget(0), 900, atMs);
      t.match(await engine.admit(costing(1, budget(100))), { outcome: 'need_seed' });
    }
    await engine.seedBudget('a1', budget(0), 900, startMs);
    t.equal(await remaining(world), 100);
  });

  scenario('adjusts what was spent by a difference, and never below nothing', async (t, world) => {
    const { engine } = await world.createReplica();
    const adjust = async (deltaNanoUsd: number): Promise<boolean> => {
      const reading = await engine.readBudget('a1', budget(0));
      if (reading?.state !== 'at_rest') return false;
      return engine.adjustBudget('a1', budget(0), { mark: reading.mark, deltaNanoUsd });
    };
    t.same(await engine.readBudget('a1', budget(0)), { state: 'unknown', atMs: startMs });
    await engine.seedBudget('a1', budget(0), 300);
    t.match(await engine.readBudget('a1', budget(0)), { state: 'at_rest', atMs: startMs, spentNanoUsd: 300 });
    t.equal(await adjust(200), true);
    t.equal(await remaining(world), 500);
    t.equal(await adjust(-50), true);
    t.equal(await remaining(world), 550);
    t.equal(await adjust(-10_000), true);
    t.equal(await remaining(world), 1000);
    for (const delta of [0.5, Number.NaN, 1e16]) await t.rejects(adjust(delta), RangeError);
  });

  scenario('adjusts nothing while a request holds some of the budget', async (t, world) => {
    const { engine } = await world.createReplica();
    await engine.seedBudget('a1', budget(0), 0);
    const before = await engine.readBudget('a1', budget(0));
    const mark = before?.state === 'at_rest' ? before.mark : '';
    await engine.admit(costing(1, budget(100)));
    t.same(await engine.readBudget('a1', budget(0)), { state: 'in_use', atMs: startMs });
    t.equal(await engine.adjustBudget('a1', budget(0), { mark, deltaNanoUsd: 7 }), false);
    t.equal(await remaining(world), 900);
  });

  scenario('adjusts nothing by what was read before a settlement, an adjustment or a new period', async (t, world) => {
    const { engine } = await world.createReplica();
    const read = async (): Promise<string> => {
      const reading = await engine.readBudget('a1', budget(0));
      return reading?.state === 'at_rest' ? reading.mark : '';
    };
    const adjust = (mark: string) => engine.adjustBudget('a1', budget(0), { mark, deltaNanoUsd: 7 });
    await engine.seedBudget('a1', budget(0), 0);
    const fresh = await read();
    await engine.admit(costing(1, budget(100)));
    await engine.settle(paid(1, 'exact', 60));
    t.equal(await adjust(fresh), false);
    const settled = await read();
    t.equal(await adjust(settled), true);
    t.equal(await adjust(settled), false, 'the same one twice');
    const adjusted = await read();
    await world.moveClock(86_400_000);
    t.equal(await adjust(adjusted), false);
    t.equal(await remaining(world), 1000);
  });

  scenario(
    'takes an edit of the limit at once under load: what is left is the edit less all that was spent',
    async (t, world) => {
      const [{ engine: one }, { engine: other }] = [await world.createReplica(), await world.createReplica()];
      await one.seedBudget('a1', budget(0), 0);
      const spent = range(60).map(async (serial) => {
        const engine = serial % 2 === 0 ? one : other;
        // Two replicas learn of the edit at different moments.
        const limitNanoUsd = serial < 20 + 10 * (serial % 2) ? 100_000 : 50_000;
        t.equal((await engine.admit(costing(serial, budget(100, { limitNanoUsd })))).outcome, 'admitted');
        await engine.settle(paid(serial, 'exact', serial));
        return serial;
      });
      const sum = (await Promise.all(spent)).reduce((total, cost) => total + cost, 0);
      t.equal(await remaining(world, budget(0, { limitNanoUsd: 50_000 })), 50_000 - sum);
      t.match(await one.admit(costing(99, budget(1, { limitNanoUsd: sum }))), { outcome: 'rejected', used: sum });
    },
  );

  scenario('refuses money that is no whole number, and one budget checked twice', async (t, world) => {
    const { engine } = await world.createReplica();
    for (const amount of [-1, 0.5, Number.NaN, 1e16, Infinity]) {
      await t.rejects(engine.admit(costing(1, budget(amount))), RangeError);
      await t.rejects(engine.admit(costing(1, budget(1, { limitNanoUsd: amount }))), RangeError);
    }
    await t.rejects(engine.admit(costing(1, budget(1), budget(1))), /two daily budgets/);
    await t.rejects(engine.admit(costing(1, budget(1), budget(2, { period: 'total' }))), /two costs/);
    await t.rejects(engine.admit(costing(1, budget(1, { scope: 'key:a b' }))), RangeError);
  });
}
