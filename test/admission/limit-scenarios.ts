/** Who is admitted, and what a refusal says: for every engine. Spec: reliability I4, I5, A2. */
import type { AdmitRequest, AdmitResult, BucketCheck } from '../../src/contract/admission.ts';
import { admitRequest, range, requestId, settlement, type Replica, type Scenario } from './engine-world.ts';

export function runLimitScenarios(scenario: Scenario): void {
  scenario('refuses the 11th request of a minute with the true wait, and admits after it', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { requestsPerMinute: 10 };
    for (const serial of range(10)) {
      t.match(await engine.admit(admitRequest(requestId(serial), limits)), {
        outcome: 'admitted',
        buckets: [{ rule: 'requests', scope: 'account:a1', limit: 10, remaining: 9 - serial, windowMs: 60_000 }],
      });
    }
    await world.moveClock(1);
    const refused = await engine.admit(admitRequest(requestId(10), limits));
    t.match(refused, { outcome: 'rejected', rule: 'requests', limit: 10, used: 10, requested: 1, waitMs: 5999 });
    await world.moveClock(5998);
    t.match(await engine.admit(admitRequest(requestId(11), limits)), { outcome: 'rejected', waitMs: 1 });
    await world.moveClock(1);
    t.equal((await engine.admit(admitRequest(requestId(12), limits))).outcome, 'admitted');
  });

  scenario('tells waits that are true when the rate divides nothing', async (t, world) => {
    const { engine } = await world.createReplica();
    let serial = 0;
    for (const requestsPerMinute of [7, 9973, 200_000]) {
      const limits = {
        requestsPerMinute,
        tokensPerMinute: requestsPerMinute,
        tokens: requestsPerMinute,
        scope: `key:${requestsPerMinute}`,
      };
      t.equal((await engine.admit(admitRequest(requestId((serial += 1)), limits))).outcome, 'admitted');
      await world.moveClock(17);
      const refused = await engine.admit(admitRequest(requestId((serial += 1)), limits));
      const waitMs = refused.outcome === 'rejected' ? (refused.waitMs ?? 0) : 0;
      t.ok(waitMs > 59_900 && waitMs <= 60_000, `${waitMs} ms`);
      await world.moveClock(waitMs);
      t.equal((await engine.admit(admitRequest(requestId((serial += 1)), limits))).outcome, 'admitted');
    }
  });

  scenario('refuses the 3rd request at once when two may run, and admits when one ends', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { concurrency: 2 };
    await engine.admit(admitRequest(requestId(1), limits));
    await engine.admit(admitRequest(requestId(2), limits));
    t.equal(engine.openLeases(), 2);
    t.same(await engine.admit(admitRequest(requestId(3), limits)), {
      outcome: 'rejected',
      rule: 'concurrency',
      scope: 'account:a1',
      limit: 2,
      used: 2,
      requested: 1,
      waitMs: 1000,
      buckets: [],
    });
    await engine.settle(settlement(requestId(1), 'exact', 10));
    t.equal(engine.openLeases(), 1);
    t.equal((await engine.admit(admitRequest(requestId(4), limits))).outcome, 'admitted');
  });

  scenario('tells the end of the lease as the wait when its holder missed a beat', async (t, world) => {
    const { engine } = await world.createReplica();
    const other = await world.createReplica();
    await engine.admit(admitRequest(requestId(1), { concurrency: 1 }));
    await engine.close();
    await world.moveClock(12_000);
    const before = await other.engine.admit(admitRequest(requestId(2), { concurrency: 1 }));
    t.match(before, { outcome: 'rejected', waitMs: 1000 });
    await world.moveClock(500);
    const after = await other.engine.admit(admitRequest(requestId(3), { concurrency: 1 }));
    t.match(after, { outcome: 'rejected', waitMs: 17_500 });
    await world.moveClock(17_500);
    t.equal((await other.engine.admit(admitRequest(requestId(4), { concurrency: 1 }))).outcome, 'admitted');
  });

  scenario('waits for the longest of all failing checks', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { requestsPerMinute: 1, tokensPerMinute: 1000, tokens: 900, concurrency: 1 };
    await engine.admit(admitRequest(requestId(1), limits));
    t.match(await engine.admit(admitRequest(requestId(2), limits)), {
      outcome: 'rejected',
      rule: 'requests',
      waitMs: 60_000,
      buckets: [{ remaining: 0 }, { remaining: 100 }],
    });
  });

  scenario('takes nothing when it refuses', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    const limits = { tokensPerMinute: 1000, tokens: 990 };
    await engine.admit(admitRequest(requestId(1), limits));
    for (const serial of range(100)) {
      t.equal(
        (await engine.admit(admitRequest(requestId(100 + serial), { ...limits, tokens: 500 }))).outcome,
        'rejected',
      );
    }
    const next = await engine.admit(admitRequest(requestId(2), { ...limits, tokens: 10 }));
    t.match(next, { outcome: 'admitted', buckets: [{ remaining: 0 }] });
    t.equal(engine.openLeases(), 2);
    t.same(rows, []);
  });

  scenario('takes from no bucket when another check fails', async (t, world) => {
    const { engine } = await world.createReplica();
    const both = { requestsPerMinute: 1, concurrency: 1 };
    await engine.admit(admitRequest(requestId(1), { concurrency: 1 }));
    t.equal((await engine.admit(admitRequest(requestId(2), both))).outcome, 'rejected');
    await engine.settle(settlement(requestId(1), 'exact', 0));
    t.equal((await engine.admit(admitRequest(requestId(3), both))).outcome, 'admitted');
  });

  scenario('admits exactly 20 when 50 reservations race for a balance of 20', async (t, world) => {
    const replicas = [await world.createReplica(), await world.createReplica()];
    const limits = { tokensPerMinute: 2000, tokens: 100, concurrency: 1000 };
    const results = await Promise.all(
      range(50).map((serial) => admitOn(replicas, serial, admitRequest(requestId(serial), limits))),
    );
    t.equal(results.filter((result) => result.outcome === 'admitted').length, 20);
  });

  scenario('shares one limit of running requests between replicas', async (t, world) => {
    const replicas = [await world.createReplica(), await world.createReplica(), await world.createReplica()];
    const results = await Promise.all(
      range(60).map((serial) => admitOn(replicas, serial, admitRequest(requestId(serial), { concurrency: 5 }))),
    );
    t.equal(results.filter((result) => result.outcome === 'admitted').length, 5);
    t.equal(
      replicas.reduce((total, { engine }) => total + engine.openLeases(), 0),
      5,
    );
  });

  scenario('says never when the cost is more than the bucket can hold', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { requestsPerMinute: 0, tokensPerMinute: 1000, tokens: 1001 };
    t.same(await engine.admit(admitRequest(requestId(1), limits)), {
      outcome: 'never',
      rule: 'tokens',
      scope: 'account:a1',
      limit: 1000,
      requested: 1001,
    });
  });

  scenario('refuses without a wait when a limit is 0', async (t, world) => {
    const { engine } = await world.createReplica();
    for (const limits of [
      { requestsPerMinute: 0 },
      { tokensPerMinute: 0 },
      { tokensPerMinute: 0, tokens: 0 },
      { concurrency: 0 },
    ]) {
      t.match(await engine.admit(admitRequest(requestId(1), limits)), { outcome: 'rejected', limit: 0, waitMs: null });
    }
  });

  scenario('refuses amounts that are no whole numbers, and one rule checked twice', async (t, world) => {
    const { engine } = await world.createReplica();
    for (const tokens of [-1, 0.5, Number.NaN, 1e13, Infinity]) {
      await t.rejects(engine.admit(admitRequest(requestId(1), { tokensPerMinute: 1000, tokens })), RangeError);
    }
    const twice = admitRequest(requestId(1), { requestsPerMinute: 10, concurrency: 1 });
    await t.rejects(engine.admit({ ...twice, buckets: [...twice.buckets, ...twice.buckets] }), RangeError);
    await t.rejects(engine.admit({ ...twice, concurrency: [...twice.concurrency, ...twice.concurrency] }), RangeError);
    const costs = [1, 2].map((cost) => ({ ...twice.buckets[0], scope: `key:k${cost}`, cost }) as BucketCheck);
    await t.rejects(engine.admit({ ...twice, buckets: costs }), /two costs/);
    await t.rejects(engine.admit(admitRequest(requestId(1), { requestsPerMinute: 1, scope: 'key:a b' })), RangeError);
  });

  scenario('gives no free tokens when the clock goes back, and refills from there', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { requestsPerMinute: 10 };
    for (const serial of range(10)) await engine.admit(admitRequest(requestId(serial), limits));
    await world.moveClock(-3_600_000);
    const refused = await engine.admit(admitRequest(requestId(20), limits));
    t.match(refused, { outcome: 'rejected', waitMs: 6000 });
    await world.moveClock(6000);
    t.equal((await engine.admit(admitRequest(requestId(21), limits))).outcome, 'admitted');
    t.equal((await engine.admit(admitRequest(requestId(22), limits))).outcome, 'rejected');
  });

  scenario('applies a changed limit at once and grants no fresh bucket', async (t, world) => {
    const { engine } = await world.createReplica();
    for (const serial of range(10)) await engine.admit(admitRequest(requestId(serial), { requestsPerMinute: 10 }));
    t.equal((await engine.admit(admitRequest(requestId(20), { requestsPerMinute: 60 }))).outcome, 'rejected');
    await world.moveClock(1000);
    t.equal((await engine.admit(admitRequest(requestId(21), { requestsPerMinute: 60 }))).outcome, 'admitted');
    await world.moveClock(60_000);
    t.match(await engine.admit(admitRequest(requestId(22), { requestsPerMinute: 5 })), {
      buckets: [{ limit: 5, remaining: 4 }],
    });
  });

  scenario('refuses with journal_full when the ledger has no room', async (t, world) => {
    const { engine, setRoom } = await world.createReplica();
    setRoom(false);
    const refused = await engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10 }));
    t.same(refused, { outcome: 'unavailable', reason: 'journal_full' });
  });
}

async function admitOn(replicas: readonly Replica[], serial: number, request: AdmitRequest): Promise<AdmitResult> {
  const replica = replicas[serial % replicas.length];
  if (replica === undefined) throw new Error('no replica');
  return replica.engine.admit(request);
}
