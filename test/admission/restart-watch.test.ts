import t from 'tap';
import { watchRestarts } from '../../src/admission/restart-watch.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { openDescribedServer } from './described-server.ts';

t.test('tells when another process answers after a reconnect, or one that hides which it is', async (t) => {
  const description = { text: 'run_id:first\r\n' };
  const redis = openRedis(await openDescribedServer(t, description), { info: () => {}, warn: () => {} });
  t.teardown(() => redis.disconnect());
  let restarts = 0;
  const stop = watchRestarts(redis, () => {
    restarts += 1;
  });
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
  const seen: number[] = [];
  for (const text of ['run_id:first\r\n', 'run_id:second\r\n', 'run_id:second\r\n', 'mode:standalone\r\n', '']) {
    await redis.info();
    description.text = text;
    redis.disconnect(true);
    await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
    await redis.info();
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(restarts);
  }
  t.same(seen, [0, 1, 1, 2, 3]);
  stop();
  redis.disconnect(true);
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
  await redis.info();
  t.equal(restarts, 3, 'nobody watches any longer');
});
