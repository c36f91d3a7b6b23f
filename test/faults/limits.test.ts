/** Limits across real processes: what several gateways admit together, held against the provider's own books. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { estimateInputTokens } from '../../src/usage/estimate.ts';
import { assertBooks } from './books.ts';
import { chatBody, isSoak } from './driver.ts';
import { eventually, openWorld } from './world.ts';

const world = await openWorld(t);
const gateways = await Promise.all(Array.from({ length: 4 }, () => world.startGateway()));
const { driver, upstream } = world;
const urls = gateways.map(({ url }) => url);
const urlOf = (index: number): string => urls[index % urls.length] ?? '';
const repeats = isSoak() ? 20 : 1;

/** Each gateway has looked the key up, and a request has passed. */
async function warm(key: { name: string; token: string }): Promise<void> {
  for (const url of urls)
    await driver.call(url, { token: key.token, marker: driver.nextMarker(key.name), behaviour: 'ok-0' });
}

t.test('62: runs at most five at once when four processes get 400 requests for a limit of five', async (t) => {
  for (let round = 0; round < repeats; round += 1) {
    const key = await world.createKey(`five${round}`, { concurrency: 5 });
    await warm(key);
    const send400 = async (behaviour: string): Promise<number[]> => {
      let refusals = 0;
      const waiting = Array.from({ length: 400 }, async (_, index) => {
        const answer = await driver.callUntilDecided(urlOf(index), { key: key.name, token: key.token, behaviour });
        if (answer.status === 429 && Number(answer.headers['retry-after']) >= 1) refusals += 1;
        return answer.status;
      });
      await eventually(async () => upstream.inFlight() + refusals >= 400, behaviour === 'hold' ? 20_000 : 0);
      upstream.release();
      return Promise.all(waiting);
    };
    const held = await send400('hold');
    t.equal(upstream.maximumInFlight(key.name), 5, 'five, while nobody ends');
    t.equal(held.filter((status) => status === 200).length, 5);
    t.equal(held.filter((status) => status === 429).length, 395);
    const short = await send400('ok-50');
    t.equal(upstream.maximumInFlight(key.name), 5, 'and never a sixth while they come and go');
    t.ok(short.filter((status) => status === 200).length >= 5);
    t.equal(short.filter((status) => status === 200 || status === 429).length, 400);
  }
});

t.test('63: admits exactly twenty when fifty race for a balance of twenty', async (t) => {
  for (let round = 0; round < repeats; round += 1) {
    const name = `race${String(round).padStart(2, '0')}`;
    const call = { token: '', behaviour: 'hold', body: { max_tokens: 1000 } };
    const body = chatBody({ ...call, marker: driver.nextMarker(name) });
    const reservation = estimateInputTokens(Buffer.from(body)) + 1000;
    // A bucket of twenty reservations refills one in three seconds, and none of them ends before all have been decided.
    const key = await world.createKey(name, { tokensPerMinute: 20 * reservation });
    let decided = 0;
    const waiting = Array.from({ length: 50 }, (_, index) =>
      driver.callUntilDecided(urlOf(index % 2), { ...call, key: name, token: key.token }).finally(() => (decided += 1)),
    );
    const countAttempts = (): number => upstream.ledger.filter((line) => line.key === name).length;
    await eventually(async () => countAttempts() + decided >= 50, 20_000);
    upstream.release();
    const answers = await Promise.all(waiting);
    t.equal(countAttempts(), 20, 'the provider saw twenty');
    t.equal(answers.filter(({ status }) => status === 200).length, 20);
    t.equal(answers.filter(({ status }) => status === 429).length, 30);
  }
});

t.test('64: admits a client that waits as long as retry-after says at its first retry', async (t) => {
  const key = await world.createKey('patient', { requestsPerMinute: 600 });
  await Promise.all(
    Array.from({ length: 600 }, (_, index) =>
      driver.callUntilDecided(urlOf(index), { key: 'patient', token: key.token, behaviour: 'ok-0' }),
    ),
  );
  const send = (index: number) =>
    driver.callUntilDecided(urlOf(index), { key: 'patient', token: key.token, behaviour: 'ok-0' });
  const rounds = 20 * repeats;
  let refusals = 0;
  let admittedAtOnce = 0;
  for (let round = 0; round < rounds; round += 1) {
    let answer = await send(round);
    for (; answer.status === 200; answer = await send(round));
    refusals += 1;
    await delay(Number(answer.headers['retry-after-ms']));
    // Another process than the one that said how long.
    if ((await send(round + 1)).status === 200) admittedAtOnce += 1;
  }
  t.equal(refusals, rounds);
  t.equal(admittedAtOnce, rounds);
});

t.test('each request of the three scenarios that ran has its one row', async (t) => {
  await assertBooks(t, world, { name: '62, 63, 64' });
});
