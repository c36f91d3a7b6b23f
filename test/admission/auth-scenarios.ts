/** A changed key or account is known to every replica with its next request. Spec: reliability I7, 2.4. */
import type { AdmitRequest, AuthStamp } from '../../src/contract/admission.ts';
import { admitRequest, requestId, settlement, type Scenario } from './engine-world.ts';

const stamp = (accountVersion: number, keyVersion: number, keyId = 'k1'): AuthStamp => ({
  keyId,
  accountVersion,
  keyVersion,
});

const stamped = (serial: number, auth: AuthStamp): AdmitRequest => ({
  ...admitRequest(requestId(serial), { requestsPerMinute: 10, concurrency: 2 }),
  auth,
});

export function runAuthScenarios(scenario: Scenario): void {
  scenario('sends the caller back to the truth until somebody has raised the versions', async (t, world) => {
    const { engine, rows } = await world.createReplica();
    t.same(await engine.admit(stamped(1, stamp(1, 1))), { outcome: 'stale_auth' });
    t.ok(await engine.raiseAuthVersion('a1', { account: 1 }));
    t.same(await engine.admit(stamped(1, stamp(1, 1))), { outcome: 'stale_auth' }, 'nobody told of the key');
    t.ok(await engine.raiseAuthVersion('a1', { key: { id: 'k1', version: 1 } }));
    t.match(await engine.admit(stamped(1, stamp(1, 1))), { outcome: 'admitted', buckets: [{ remaining: 9 }] });
    t.equal(engine.openLeases(), 1);
    t.same(rows, []);
  });

  scenario('refuses an old snapshot on every replica with the next request', async (t, world) => {
    const [one, other] = [await world.createReplica(), await world.createReplica()];
    await one.engine.raiseAuthVersion('a1', { account: 4, key: { id: 'k1', version: 7 } });
    t.equal((await other.engine.admit(stamped(1, stamp(4, 7)))).outcome, 'admitted');
    await one.engine.raiseAuthVersion('a1', { key: { id: 'k1', version: 8 } });
    t.same(await other.engine.admit(stamped(2, stamp(4, 7))), { outcome: 'stale_auth' });
    t.equal((await other.engine.admit(stamped(3, stamp(4, 8)))).outcome, 'admitted');
    await other.engine.raiseAuthVersion('a1', { account: 5 });
    t.same(await one.engine.admit(stamped(4, stamp(4, 8))), { outcome: 'stale_auth' });
    t.match(await one.engine.admit(stamped(4, stamp(5, 8))), { outcome: 'rejected' }, 'only the limit is left');
  });

  scenario('never lowers a version, and keeps accounts and keys apart', async (t, world) => {
    const { engine } = await world.createReplica();
    await engine.raiseAuthVersion('a1', { account: 10, key: { id: 'k1', version: 10 } });
    await engine.raiseAuthVersion('a1', { account: 9, key: { id: 'k1', version: 2 } });
    await engine.raiseAuthVersion('a1', { key: { id: 'k2', version: 3 } });
    await engine.raiseAuthVersion('a2', { account: 11, key: { id: 'k1', version: 12 } });
    t.equal(await engine.checkAuth('a1', stamp(10, 10)), 'ok');
    t.equal(await engine.checkAuth('a1', stamp(10, 3, 'k2')), 'ok');
    t.equal(await engine.checkAuth('a2', stamp(11, 12)), 'ok');
    t.equal(await engine.checkAuth('a1', stamp(9, 10)), 'stale_auth');
    t.equal(await engine.checkAuth('a1', stamp(10, 11)), 'stale_auth', 'a snapshot that nobody raised yet');
    t.equal(await engine.checkAuth('a1', stamp(10, 0, 'k3')), 'stale_auth');
    t.equal(await engine.checkAuth('a3', stamp(0, 0)), 'stale_auth');
  });

  scenario('answers a repeated request as before when its key changed meanwhile', async (t, world) => {
    const { engine } = await world.createReplica();
    await engine.raiseAuthVersion('a1', { account: 1, key: { id: 'k1', version: 1 } });
    await engine.admit(stamped(1, stamp(1, 1)));
    await engine.raiseAuthVersion('a1', { account: 2 });
    t.equal((await engine.admit(stamped(1, stamp(1, 1)))).outcome, 'admitted');
    await engine.settle(settlement(requestId(1), 'exact', 1));
    t.same(await engine.admit(stamped(1, stamp(1, 1))), { outcome: 'finished' });
  });

  scenario('refuses names and versions that have no such form', async (t, world) => {
    const { engine } = await world.createReplica();
    for (const auth of [stamp(-1, 1), stamp(1, 0.5), stamp(1, 1, 'k 1'), stamp(1, 1, '')]) {
      await t.rejects(engine.admit(stamped(1, auth)), RangeError);
      await t.rejects(engine.checkAuth('a1', auth), RangeError);
    }
  });
}
