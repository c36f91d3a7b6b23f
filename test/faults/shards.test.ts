/** Another number of shards: refused while anything of the old layout is in use, and taken by the next start when nothing is. */
import t from 'tap';
import { shardOfAccount } from '../../src/admission/redis-keys.ts';
import { assertBooks } from './books.ts';
import { eventually, openWorld, type Gateway, type TestKey, type World } from './world.ts';

const shards = 6;

async function createKeyBeyondFirst(world: World): Promise<TestKey> {
  for (let serial = 0; ; serial += 1) {
    const key = await world.createKey(`k${serial}`);
    if (shardOfAccount(key.accountId, shards) > 0) return key;
  }
}

function call(world: World, gateway: Gateway, { name, token }: TestKey) {
  return world.driver.callUntilDecided(gateway.url, { key: name, token, behaviour: 'ok-0' });
}

t.test('changes the number of shards when the last gateway of the old one has gone', async (t) => {
  const world = await openWorld(t);
  const { admin } = world.redis;
  const key = await createKeyBeyondFirst(world);
  const first = await world.startGateway();
  t.equal((await call(world, first, key)).status, 200);
  await t.rejects(
    world.startGateway({ redisShards: shards }),
    /kept in 1 shards, and redis\.shards \(REDIS_SHARDS\) says 6.*a gateway with 1 shards still runs.*then stop every gateway/s,
  );
  t.equal((await call(world, first, key)).status, 200, 'the one that runs is not disturbed');
  t.equal(await first.stop(), 0);
  t.equal((await world.rows()).length, 2, 'what was used is in Postgres');

  const second = await world.startGateway({ redisShards: shards });
  t.same(await admin.keys('tg:{0}:[bcr]*'), [], 'nothing of the old layout is left');
  t.equal((await call(world, second, key)).status, 200);
  t.ok(await eventually(async () => (await world.rows()).length === 3, 10_000), 'its stream is read');
  t.same(await admin.keys('tg:{0}:r:*'), [], 'the account has moved');
  await t.rejects(world.startGateway(), /kept in 6 shards, and redis\.shards \(REDIS_SHARDS\) says 1/);

  await world.command('keys', 'revoke', key.token);
  t.equal(
    (await call(world, second, key)).status,
    401,
    'a command finds the shard without being told how many there are',
  );
  await assertBooks(t, world, { name: 'shards' });
});
