import { randomUUID } from 'node:crypto';
import t, { type Test } from 'tap';
import { createReplicaCount } from '../../src/admission/replica-count.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { silentLog } from '../support/database.ts';
import { redisUrl } from './redis-world.ts';

async function openCounts(t: Test) {
  const redis = openRedis(redisUrl, silentLog, { commandTimeoutMs: 10_000 });
  const key = `tg-test-${randomUUID()}:replicas`;
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
  t.teardown(async () => {
    await redis.del(key);
    redis.disconnect();
  });
  const clock = { nowMs: 0 };
  const start = async () => {
    let beat = async (): Promise<void> => undefined;
    const count = createReplicaCount({
      redis,
      key,
      nowMs: () => clock.nowMs,
      every: (_periodMs, work) => {
        beat = async () => {
          await work();
        };
        return () => undefined;
      },
    });
    await beat();
    return { ...count, beat: () => beat() };
  };
  return { redis, key, clock, start };
}

t.test('counts all that share the limits, once they have had the time to see each other', async (t) => {
  const { clock, start } = await openCounts(t);
  const first = await start();
  const second = await start();
  t.equal(first.at(clock.nowMs), null, 'a third may just have done the same');
  clock.nowMs = 4_000;
  await first.beat();
  await second.beat();
  t.equal(first.at(4_500), 2);
  t.equal(second.at(4_500), 2);
});

t.test('knows nothing when its own last number is old', async (t) => {
  const { clock, start } = await openCounts(t);
  const only = await start();
  clock.nowMs = 4_000;
  await only.beat();
  t.equal(only.at(10_000), 1);
  t.equal(only.at(10_001), null);
});

t.test('forgets one that has left, and half a minute later stops reckoning with it', async (t) => {
  const { clock, start } = await openCounts(t);
  const first = await start();
  const second = await start();
  clock.nowMs = 4_000;
  await first.beat();
  await second.close();
  clock.nowMs = 6_000;
  await first.beat();
  t.equal(first.at(6_000), 2, 'the most of the last half minute');
  clock.nowMs = 34_001;
  await first.beat();
  t.equal(first.at(34_001), 1);
});

t.test('drops one that has fallen silent by the clock of the server', async (t) => {
  const { redis, key, clock, start } = await openCounts(t);
  const seconds = Number((await redis.time())[0]);
  await redis.zadd(key, seconds - 31, 'dead', seconds - 5, 'alive');
  const only = await start();
  clock.nowMs = 4_000;
  await only.beat();
  t.equal(only.at(4_000), 2);
  t.ok((await redis.pttl(key)) > 0, 'and the key is not for ever');
});
