/** The end of every scenario: waits until the books agree, says what is wrong with them, and prints a line to check. */
import type { Redis } from 'ioredis';
import type { Test } from 'tap';
import { countAnswers, countStatuses, type Evidence, findFaults, type UsageRow } from './checker.ts';
import { type Answer, faultSeed } from './driver.ts';
import { eventually, type World } from './world.ts';

/** A lease, a round of the reaper, and the drain. */
export const settledMs = 60_000;
/** The drainer that has the row may die as well: then another takes it over, after half a minute and more. */
export const takenOverMs = 110_000;
const pollMs = 300;

export type Scenario = {
  name: string;
  kills?: NonNullable<Evidence['kills']>;
  answers?: Evidence['answers'];
  /** Every server that holds limits, when that is not the world's own. */
  servers?: readonly Redis[];
};

export async function assertBooks(t: Test, world: World, scenario: Scenario): Promise<void> {
  const { driver, upstream } = world;
  const { name, kills = [], answers = driver.log, servers = [world.redis.admin] } = scenario;
  const read = async (): Promise<Evidence> => ({ answers, ledger: upstream.ledger, rows: await world.rows(), kills });
  const faults = async (): Promise<string[]> => findFaults(await read());
  await eventually(async () => (await faults()).length === 0, kills.length > 0 ? takenOverMs : settledMs, pollMs);
  t.same(await faults(), [], 'the books agree');
  await eventually(async () => (await countOpen(servers)) === 0, settledMs, pollMs);
  const leaked = await countOpen(servers);
  t.equal(leaked, 0, 'no slot is held');
  const books = takeNew(world, await read());
  t.comment(describeBooks({ name, ...books, leaked }));
  t.comment(`${countStatuses(books.rows)}; answers ${countAnswers(books.answers)}`);
}

async function countOpen(servers: readonly Redis[]): Promise<number> {
  const counts = servers.map(async (admin) => {
    const names = await admin.keys('tg:{*}:open');
    const sizes = await Promise.all(names.map((name) => admin.zcard(name)));
    return sizes.reduce((sum, size) => sum + size, 0);
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

/** What scenarios before this one in the same world have counted. */
const counted = new WeakMap<World, { markers: Set<string>; answers: Set<Answer> }>();

type Books = Pick<Evidence, 'answers' | 'ledger' | 'rows'>;

function takeNew(world: World, { answers, ledger, rows }: Books): Books {
  const before = counted.get(world) ?? { markers: new Set(), answers: new Set() };
  const isNew = ({ marker }: { marker: string }): boolean => !before.markers.has(marker);
  const books = {
    answers: answers.filter((answer) => !before.answers.has(answer)),
    ledger: ledger.filter(isNew),
    rows: rows.filter(isNew),
  };
  for (const { marker } of [...books.ledger, ...books.rows]) before.markers.add(marker);
  for (const answer of books.answers) before.answers.add(answer);
  counted.set(world, before);
  return books;
}

let printedAtMs = performance.now();

/** Expected: what the provider saw, and what was admitted and got no further. */
export function describeBooks({
  name,
  answers,
  ledger,
  rows,
  leaked,
}: Books & { name: string; leaked: number }): string {
  const found = new Set(rows.map(({ marker }) => marker));
  const expected = new Set(ledger.map(({ marker }) => marker));
  for (const { marker, status } of rows) if (status === 'not_dispatched') expected.add(marker);
  const seconds = (performance.now() - printedAtMs) / 1000;
  printedAtMs = performance.now();
  return (
    `books: ${name}: seed ${faultSeed()}, rows expected ${expected.size}, found ${found.size}, ` +
    `doubled ${countDoubled(rows)}, slots leaked ${leaked}, ` +
    `undecided ${answers.filter(isUndecided).length} of ${answers.length}, ${seconds.toFixed(0)} s`
  );
}

const countDoubled = (rows: readonly UsageRow[]): number =>
  rows.length - new Set(rows.map(({ marker }) => marker)).size;

const isUndecided = ({ code }: Answer): boolean => code === 'limits_unavailable';

/** A breaker that opened, and asks again after half a second. */
const tolerableMs = 2_000;
const sliceMs = 250;

/**
 * Callers who should notice nothing: each was served, and whole. Redis has 250 ms for an answer, and on a busy machine it
 * may be late; then the breaker opens, and closed-loop callers are refused by the hundred in one moment. So it is the time
 * with refusals that is bounded: once for a moment, or a twentieth of all.
 */
export function assertServed(t: Test, answers: readonly Answer[], message: string, isLate = isUndecided): void {
  const undecided = answers.filter(isLate);
  const others = answers.filter((answer) => !(answer.status === 200 && answer.isComplete) && !isLate(answer));
  t.equal(countAnswers(others), '', message);
  const undecidedMs = new Set(undecided.map(({ startedAtMs }) => Math.floor(startedAtMs / sliceMs))).size * sliceMs;
  const starts = answers.map(({ startedAtMs }) => startedAtMs).toSorted((left, right) => left - right);
  const spanMs = (starts.at(-1) ?? 0) - (starts[0] ?? 0);
  t.ok(
    undecided.length < answers.length && undecidedMs <= Math.max(tolerableMs, spanMs / 20),
    `${undecided.length} of ${answers.length} could not be decided, in ${undecidedMs} of ${spanMs} ms`,
  );
}
