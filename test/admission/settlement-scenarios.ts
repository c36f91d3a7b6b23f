/** How a request ends, and what is then charged and written: for every engine. Spec: reliability I1, I3, 2.4. */
import { usageRank } from '../../src/contract/flow.ts';
import { admitRequest, range, requestId, settlement, type Scenario } from './engine-world.ts';

export function runSettlementScenarios(scenario: Scenario): void {
  scenario('gives back what was reserved too much when the truth is known', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    const limits = { tokensPerMinute: 1000, tokens: 900 };
    await engine.admit(admitRequest(requestId(1), limits));
    await engine.settle(settlement(requestId(1), 'exact', 150));
    const next = await engine.admit(admitRequest(requestId(2), { ...limits, tokens: 0 }));
    t.match(next, { outcome: 'admitted', buckets: [{ remaining: 850 }] });
    t.match(rows, [{ requestId: requestId(1), rank: usageRank.final, status: 'ok' }]);
  });

  scenario('keeps a bounded debt when more was used than the bucket holds', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { tokensPerMinute: 600, tokens: 100 };
    await engine.admit(admitRequest(requestId(1), limits));
    await engine.settle(settlement(requestId(1), 'exact', 800));
    const refused = await engine.admit(admitRequest(requestId(2), limits));
    t.match(refused, { outcome: 'rejected', used: 600, waitMs: 30_000 });
    await engine.settle(settlement(requestId(3), 'exact', 1));
    await engine.admit(admitRequest(requestId(4), { ...limits, tokens: 0, scope: 'key:k' }));
    await engine.settle(settlement(requestId(4), 'exact', 999_999));
    t.match(await engine.admit(admitRequest(requestId(5), { ...limits, scope: 'key:k' })), { waitMs: 70_000 });
  });

  scenario('never refunds when the usage may be under the truth', async (t, world) => {
    const { engine } = await world.createReplica();
    const limits = { tokensPerMinute: 1000, tokens: 500 };
    await engine.admit(admitRequest(requestId(1), limits));
    await engine.settle(settlement(requestId(1), 'under', 20));
    const second = await engine.admit(admitRequest(requestId(2), limits));
    t.match(second, { outcome: 'admitted', buckets: [{ remaining: 0 }] });
    await engine.settle(settlement(requestId(2), 'under', 600));
    t.match(await engine.admit(admitRequest(requestId(3), { ...limits, tokens: 0 })), {
      outcome: 'rejected',
      waitMs: 6000,
    });
  });

  scenario('gives everything back when the request is void', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    const limits = { requestsPerMinute: 1, tokensPerMinute: 1000, tokens: 1000, concurrency: 1 };
    await engine.admit(admitRequest(requestId(1), limits));
    await engine.settle(settlement(requestId(1), 'void'));
    t.equal((await engine.admit(admitRequest(requestId(2), limits))).outcome, 'admitted');
    t.match(rows, [{ requestId: requestId(1), rank: usageRank.void }]);
  });

  scenario('admits and settles once when either is repeated', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    const request = admitRequest(requestId(1), { requestsPerMinute: 10, tokensPerMinute: 1000, tokens: 300 });
    await engine.admit(request);
    t.match(await engine.admit(request), { outcome: 'admitted', buckets: [{ remaining: 9 }, { remaining: 700 }] });
    t.equal(engine.openLeases(), 1);
    await engine.settle(settlement(requestId(1), 'exact', 100));
    await engine.settle(settlement(requestId(1), 'exact', 100));
    await engine.settle(settlement(requestId(1), 'void'));
    await engine.settle(settlement(requestId(1), 'under', 900));
    t.same(await engine.admit(request), { outcome: 'finished' });
    const next = await engine.admit({ ...request, id: requestId(2) });
    t.match(next, { outcome: 'admitted', buckets: [{ remaining: 8 }, { remaining: 600 }] });
    t.equal(rows.length, 1);
  });

  scenario('admits twice the same id in one tick as one request', async (t, world) => {
    const { engine } = await world.createReplica();
    const request = admitRequest(requestId(1), { requestsPerMinute: 10, concurrency: 1 });
    const results = await Promise.all([engine.admit(request), engine.admit(request)]);
    t.match(results, [
      { outcome: 'admitted', buckets: [{ remaining: 9 }] },
      { outcome: 'admitted', buckets: [{ remaining: 9 }] },
    ]);
  });

  scenario('blocks a late admission when the request was given up before', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    await engine.settle(settlement(requestId(1), 'void'));
    t.same(await engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10 })), { outcome: 'finished' });
    t.same(rows, [], 'an unknown request has no row');
    t.equal(engine.openLeases(), 0);
  });

  scenario('improves the settlement when a higher rank comes later', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    const limits = { tokensPerMinute: 1000, tokens: 500 };
    await engine.admit(admitRequest(requestId(1), limits));
    await engine.settle(settlement(requestId(1), 'under', 20));
    await engine.settle(settlement(requestId(1), 'exact', 120));
    t.match(rows, [{ rank: usageRank.partial }, { rank: usageRank.final }]);
    const next = await engine.admit(admitRequest(requestId(2), { ...limits, tokens: 0 }));
    t.match(next, { outcome: 'admitted', buckets: [{ remaining: 880 }] });
  });

  scenario('writes a row without a charge when a request that nobody knows is settled', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    await engine.settle(settlement(requestId(1), 'exact', 50));
    t.match(rows, [{ requestId: requestId(1), rank: usageRank.final }]);
  });

  scenario('settles a request as orphaned when its process died after dispatch', async (t, world) => {
    const { engine, heartbeat } = await world.createReplica();
    const other = await world.createReplica();
    const limits = { requestsPerMinute: 10, tokensPerMinute: 1000, tokens: 300, concurrency: 1 };
    await engine.admit(admitRequest(requestId(1), limits));
    engine.markDispatched(requestId(1), 'a1');
    engine.reportProgress(requestId(1), 'a1', 350);
    await heartbeat();
    await world.quiet();
    await engine.close();
    await world.moveClock(29_999);
    await other.reap();
    t.same(other.rows, []);
    await world.moveClock(1);
    await other.reap();
    t.match(other.rows, [
      {
        requestId: requestId(1),
        rank: usageRank.orphan,
        status: 'orphaned',
        usageSource: 'estimated',
        usage: { promptTokens: 40, completionTokens: 310 },
        costPicoUsd: 1000 + 310 * 7,
      },
    ]);
    await other.reap();
    t.equal(other.rows.length, 1);
    await world.moveClock(60_000);
    t.equal((await other.engine.admit(admitRequest(requestId(2), limits))).outcome, 'admitted');
  });

  scenario('charges an orphan no less than its reservation', async (t, world) => {
    const { engine } = await world.createReplica();
    const other = await world.createReplica();
    const limits = { requestsPerMinute: 1, tokensPerMinute: 1, tokens: 1 };
    await engine.admit(admitRequest(requestId(1), limits));
    engine.markDispatched(requestId(1), 'a1');
    await world.quiet();
    await engine.close();
    await world.moveClock(30_000);
    await other.reap();
    const next = await other.engine.admit(admitRequest(requestId(2), limits));
    t.match(
      next,
      { outcome: 'rejected', rule: 'tokens', waitMs: 120_000 },
      'the input estimate is above the reservation',
    );
  });

  scenario('gives everything back when a process died before dispatch', async (t, world) => {
    const { engine } = await world.createReplica();
    const other = await world.createReplica();
    const limits = { requestsPerMinute: 1, tokensPerMinute: 60, tokens: 60, concurrency: 1 };
    await engine.admit(admitRequest(requestId(1), limits));
    await engine.close();
    await world.moveClock(30_000);
    await other.reap();
    t.match(other.rows, [
      {
        requestId: requestId(1),
        rank: usageRank.void,
        status: 'not_dispatched',
        costPicoUsd: 0,
        usage: { promptTokens: 0 },
      },
    ]);
    t.equal((await other.engine.admit(admitRequest(requestId(2), limits))).outcome, 'admitted');
  });

  scenario('improves an orphan when its owner was only slow', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    const other = await world.createReplica();
    const limits = { tokensPerMinute: 1000, tokens: 300 };
    await engine.admit(admitRequest(requestId(1), limits));
    engine.markDispatched(requestId(1), 'a1');
    await world.quiet();
    await world.moveClock(30_000);
    await other.reap();
    t.match(other.rows, [{ rank: usageRank.orphan }]);
    await engine.settle(settlement(requestId(1), 'exact', 100));
    t.match(rows, [{ rank: usageRank.final }]);
  });

  scenario('keeps a lease for as long as its process lives', async (t, world) => {
    const { engine, rows, heartbeat } = await world.createReplica();
    const other = await world.createReplica();
    await engine.admit(admitRequest(requestId(1), { concurrency: 1 }));
    for (const _ of range(12)) {
      await world.moveClock(10_000);
      await heartbeat();
      await other.reap();
    }
    t.equal((await other.engine.admit(admitRequest(requestId(2), { concurrency: 1 }))).outcome, 'rejected');
    t.same([...rows, ...other.rows], []);
  });
}
