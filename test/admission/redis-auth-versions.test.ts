import { randomUUID } from 'node:crypto';
import t from 'tap';
import { raiseAuthVersionInRedis } from '../../src/admission/redis-auth-versions.ts';
import { openRedisWorld } from './redis-world.ts';

t.test('raises the version of an account and of a key, and lowers neither', async (t) => {
  const world = await openRedisWorld();
  t.teardown(world.close);
  const [accountId, keyId] = [randomUUID(), randomUUID()];
  const raise = (versions: { account?: number; key?: { id: string; version: number } }, shards = 1) =>
    raiseAuthVersionInRedis(world.admin, { accountId, versions }, { keyPrefix: world.keyPrefix, shards });
  const stored = () => world.admin.hgetall(`${world.keyPrefix}{0}:av:${accountId}`);
  await raise({ account: 9 });
  t.same(await stored(), { a: '9' });
  await raise({ account: 10, key: { id: keyId, version: 2 } });
  t.same(await stored(), { a: '10', [keyId]: '2' });
  await raise({ account: 3, key: { id: keyId, version: 1 } });
  t.same(await stored(), { a: '10', [keyId]: '2' });
});

t.test('writes where the engine of that many shards looks', async (t) => {
  const world = await openRedisWorld();
  t.teardown(world.close);
  // CRC-32 of this text is 3421780262, the check value of the algorithm: shard 2 of 4.
  await raiseAuthVersionInRedis(
    world.admin,
    { accountId: '123456789', versions: { account: 1 } },
    { keyPrefix: world.keyPrefix, shards: 4 },
  );
  t.same(await world.admin.hgetall(`${world.keyPrefix}{2}:av:123456789`), { a: '1' });
});
