/** Any number of readers, stopped between any two of their steps: whatever they did, each request has its best record. */
import { deepEqual } from 'node:assert/strict';
import * as fc from 'fast-check';
import t from 'tap';
import { type UsageRank, usageRank } from '../../src/contract/flow.ts';
import type { StreamEntry, StreamGroup } from '../../src/usage/stream-group.ts';
import { parseUsageRecord } from '../../src/usage/stream-record.ts';
import { usageRecord } from '../support/usage-record.ts';
import { openStreamWorld, type StreamWorld } from './stream-world.ts';

type Step =
  | { kind: 'add'; request: number; rank: UsageRank }
  | { kind: 'read' | 'take stale' | 'take own' | 'commit' | 'acknowledge' | 'die' | 'leave' | 'trim'; reader: number };

const reader = fc.nat({ max: 2 });
const add = fc.record({
  kind: fc.constant('add' as const),
  request: fc.nat({ max: 7 }),
  rank: fc.constantFrom(...Object.values(usageRank)),
});
const act = fc.record({
  kind: fc.constantFrom('read', 'take stale', 'take own', 'commit', 'acknowledge', 'die', 'leave', 'trim' as const),
  reader,
});
const steps: fc.Arbitrary<Step[]> = fc.array(fc.oneof(add, act), { minLength: 20, maxLength: 60 });

type Reader = { group: StreamGroup; held: readonly StreamEntry[]; committed: readonly StreamEntry[] };

/** What the table would hold: the upsert of `insertUsageEvents`, which has tests of its own. */
function upsert(rows: Map<string, number>, entries: readonly StreamEntry[]): void {
  for (const entry of entries) {
    const parsed = parseUsageRecord(entry.record, entry.requestId);
    if (!('record' in parsed)) throw new Error(parsed.reason);
    const { requestId, rank } = parsed.record;
    rows.set(requestId, Math.max(rank, rows.get(requestId) ?? -1));
  }
}

const idsOf = (entries: readonly StreamEntry[]): string[] => entries.map(({ entryId }) => entryId);

async function take(reader: Reader, rows: Map<string, number>, kind: Step['kind']): Promise<void> {
  const { group } = reader;
  if (kind === 'read') reader.held = [...reader.held, ...(await group.readNew(3, 1))];
  if (kind === 'take stale') reader.held = [...reader.held, ...(await group.takeStale(4, 0))];
  if (kind === 'take own') reader.held = await group.takeOwn(4);
  if (kind === 'commit') {
    upsert(rows, reader.held);
    reader.committed = [...reader.committed, ...reader.held];
    reader.held = [];
  }
  if (kind === 'acknowledge') {
    await group.acknowledge(idsOf(reader.committed));
    reader.committed = [];
  }
  if (kind === 'die') [reader.held, reader.committed] = [[], []];
  if (kind === 'leave') await group.leave(-1);
  if (kind === 'trim') await group.trim();
}

/** What is left of the sequence is finished by a reader that nothing disturbs. */
async function run(world: StreamWorld, sequence: readonly Step[]): Promise<void> {
  await world.admin.del(world.stream);
  const requests = Array.from({ length: 8 }, () => usageRecord());
  const [best, rows] = [new Map<string, number>(), new Map<string, number>()];
  const open = (name: string): Reader => ({ group: world.group(name), held: [], committed: [] });
  const [readers, last] = [['a', 'b', 'c'].map(open), open('last')];
  await last.group.join();
  for (const step of sequence) {
    if (step.kind === 'add') {
      const record = { ...(requests[step.request] ?? usageRecord()), rank: step.rank };
      await world.add(record);
      best.set(record.requestId, Math.max(step.rank, best.get(record.requestId) ?? -1));
    } else {
      await take(readers[step.reader] ?? last, rows, step.kind);
    }
  }
  for (let round = 0; round < 200 && (await world.depth()) > 0; round += 1) {
    for (const kind of ['take stale', 'read', 'commit', 'acknowledge', 'trim'] as const) await take(last, rows, kind);
  }
  deepEqual(rows, best);
  deepEqual([await world.depth(), await world.pending()], [0, 0]);
}

t.test('keeps the best record of each request whatever step its readers die at', async (t) => {
  const world = await openStreamWorld(t);
  await t.resolves(
    fc.assert(
      fc.asyncProperty(steps, (sequence) => run(world, sequence)),
      { numRuns: 60 },
    ),
  );
});
