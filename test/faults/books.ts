/** The end of every scenario: waits until the books agree, says what is wrong with them, and prints a line to check. */
import type { Test } from 'tap';
import { countAnswers, countStatuses, type Evidence, findFaults } from './checker.ts';
import { faultSeed } from './driver.ts';
import { eventually, type World } from './world.ts';

/** A lease, a round of the reaper, and the drain. */
export const settledMs = 60_000;
const pollMs = 300;

export type Scenario = { name: string; kills?: NonNullable<Evidence['kills']>; answers?: Evidence['answers'] };

export async function assertBooks(t: Test, world: World, scenario: Scenario): Promise<void> {
  const { driver, upstream, redis } = world;
  const { name, kills = [], answers = driver.log } = scenario;
  const read = async (): Promise<Evidence> => ({ answers, ledger: upstream.ledger, rows: await world.rows(), kills });
  const faults = async (): Promise<string[]> => findFaults(await read());
  const leaked = async (): Promise<number> => redis.admin.zcard('tg:{0}:open');
  await eventually(async () => (await faults()).length === 0, settledMs, pollMs);
  t.same(await faults(), [], 'the books agree');
  await eventually(async () => (await leaked()) === 0, settledMs, pollMs);
  t.equal(await leaked(), 0, 'no slot is held');
  const { rows } = await read();
  t.comment(
    `books: ${name}: seed ${faultSeed()}, ${countRows({ ledger: upstream.ledger, rows })}, slots leaked ${await leaked()}`,
  );
  t.comment(`${countStatuses(rows)}; answers ${countAnswers(answers)}`);
}

/** Expected: what the provider saw, and what was admitted and got no further. */
export function countRows({ ledger, rows }: Pick<Evidence, 'ledger' | 'rows'>): string {
  const found = new Set(rows.map(({ marker }) => marker));
  const expected = new Set(ledger.map(({ marker }) => marker));
  for (const { marker, status } of rows) if (status === 'not_dispatched') expected.add(marker);
  return `rows expected ${expected.size}, found ${found.size}, doubled ${rows.length - found.size}`;
}
