/** The journaled engine keeps the contract of the engine that it wraps: the same suite and the same model. */
import { join } from 'node:path';
import t from 'tap';
import type { Every } from '../../src/admission/clock.ts';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { openJournal } from '../../src/admission/journal.ts';
import { createJournaledEngine } from '../../src/admission/journaled-engine.ts';
import { createLimiterState } from '../../src/admission/limiter-state.ts';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { silentLog } from '../support/database.ts';
import { runEngineModel } from './engine-model.ts';
import { runEngineSuite } from './engine-suite.ts';
import { startMs, suiteTimes, type EngineWorld } from './engine-world.ts';

const root = t.testdir({});
const serials = { next: 0 };

async function createWorld(): Promise<EngineWorld> {
  let nowMicros = startMs * 1000;
  const state = createLimiterState(suiteTimes);
  const closers: (() => Promise<void>)[] = [];
  return {
    async createReplica() {
      const rows: UsageRecord[] = [];
      let hasRoom = true;
      const works = new Map<number, () => void | Promise<void>>();
      const every: Every = (periodMs, work) => {
        works.set(periodMs, work);
        return () => works.delete(periodMs);
      };
      serials.next += 1;
      const { journal } = await openJournal({
        folder: join(root, String(serials.next)),
        readCursor: async () => 0,
        log: silentLog,
        reserveBytes: 4096,
        stallMs: 3_600_000,
      });
      const engine = createJournaledEngine({
        createInner: (sink) =>
          createInProcessEngine({ ...suiteTimes, clock: { nowMicros: () => nowMicros }, sink, state, every }),
        journal,
        ledger: { append: (record) => rows.push(record), hasRoom: () => hasRoom },
        every: () => () => undefined,
      });
      closers.push(() => journal.close());
      return {
        engine,
        rows,
        setRoom: (value) => {
          hasRoom = value;
        },
        heartbeat: async () => works.get(suiteTimes.heartbeatMs)?.(),
        async reap() {
          await works.get(suiteTimes.reapMs)?.();
          await written();
        },
      };
    },
    moveClock: async (milliseconds) => {
      nowMicros += milliseconds * 1000;
    },
    quiet: written,
    close: async () => {
      await Promise.all(closers.map((close) => close()));
    },
  };
}

/** The rows of reaped leases are in the file, and with their ledger. */
const written = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 15));

runEngineSuite(t, createWorld);
runEngineModel(t, createWorld, { operations: 2000, seed: 4 });
