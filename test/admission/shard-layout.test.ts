/** Another number of shards: what the old one has left must be done with before a new one begins. */
import t, { type Test } from 'tap';
import { openLeasesKey, usageStreamKey } from '../../src/admission/redis-keys.ts';
import { findLayoutInUse, removeLayout } from '../../src/admission/shard-layout.ts';
import { createStreamGroup } from '../../src/usage/stream-group.ts';
import { createTestDatabase } from '../support/database.ts';
import { claimShardCount, readShardCount } from '../../src/store/shard-counts.ts';
import { openRedisWorld } from './redis-world.ts';

async function openScene(t: Test) {
  const { admin, keyPrefix, keys, close } = await openRedisWorld({ clock: 'server' });
  t.teardown(close);
  const shards = 3;
  return { admin, keyPrefix, keys, inUse: () => findLayoutInUse(admin, { keyPrefix, shards }) };
}

t.test('keeps a layout in which rows wait, requests run or a gateway reads', async (t) => {
  const { admin, keyPrefix, inUse } = await openScene(t);
  t.equal(await inUse(), null, 'nothing is there');
  const stream = usageStreamKey(keyPrefix, 2);
  const entry = String(await admin.xadd(stream, '*', 'id', 'x'));
  t.match(await inUse(), /1 usage rows wait in .*\{2\}:u/);
  await admin.xdel(stream, entry);
  t.equal(await inUse(), null);
  await admin.zadd(openLeasesKey(keyPrefix, 1), 1, 'request');
  t.match(await inUse(), /1 requests are still open in shard 1/);
  await admin.zrem(openLeasesKey(keyPrefix, 1), 'request');
  await admin.xgroup('CREATE', stream, 'pg', '0');
  await createStreamGroup(admin, { stream, group: 'pg', consumer: 'reader' }).showLife();
  t.match(await inUse(), /a gateway with 3 shards still runs/);
  await admin.xgroup('DELCONSUMER', stream, 'pg', 'reader');
  t.equal(await inUse(), null, 'it has left');
});

t.test('removes all that carries the prefix, and nothing beside it', async (t) => {
  const { admin, keyPrefix, keys } = await openScene(t);
  const beside = `x${keyPrefix}{0}:open`;
  t.teardown(() => admin.del(beside));
  await admin.mset(`${keyPrefix}{0}:b:2:account:a`, 'x', `${keyPrefix}{2}:rid`, 'x', beside, 'x');
  await removeLayout(admin, keyPrefix);
  t.same(await keys(), []);
  t.equal(await admin.get(beside), 'x');
});

t.test('fixes the number with the first start and changes it once', async (t) => {
  const { db } = await createTestDatabase(t);
  const claim = (shards: number, change: (stored: number) => Promise<void>) =>
    claimShardCount(db, { keyPrefix: 'tg:', shards, change });
  const never = async (): Promise<void> => {
    throw new Error('in use');
  };
  t.equal(await readShardCount(db, 'tg:'), null);
  await Promise.all([claim(1, never), claim(1, never)]);
  t.equal(await readShardCount(db, 'tg:'), 1);
  await t.rejects(claim(6, never), /in use/);
  t.equal(await readShardCount(db, 'tg:'), 1);
  const changes: number[] = [];
  const change = async (stored: number): Promise<void> => void changes.push(stored);
  await Promise.all([claim(6, change), claim(6, change)]);
  t.same([changes, await readShardCount(db, 'tg:')], [[1], 6]);
});
