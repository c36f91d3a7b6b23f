/**
 * Compares what the engine believes was spent with the sum of the rows, and mends the difference. Takes a handle and an
 * engine, gives what it found. It only ever adds a difference, and only to a budget that rested from before the rows were
 * read until it was mended: no request holds any of it, no row waits, nothing was settled meanwhile. Any replica may run
 * it at any time, twice at once as well. Spec: reliability 2.4 SEED / ADJUST.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import type { BudgetName, GovernedEngine } from '../contract/admission.ts';
import { budgetPeriods } from '../contract/budgets.ts';
import { type SpendingBounds, spentBoundsNanoUsd } from '../store/budgets.ts';
import type { StoreSchema } from '../store/schema.ts';
import { findRecentSpenders } from '../store/usage-events.ts';

export type ReconcileOptions = {
  engine: Pick<GovernedEngine, 'readBudget' | 'adjustBudget'>;
  /** Rows of this process that have not reached the database. */
  unwrittenRows: () => number;
  /** Whose rows came within this time; who has spent nothing since cannot have come to differ. */
  lookBackMs?: number;
  /** A budget in use is looked at again so often, after so long. */
  attempts?: number;
  retryMs?: number;
  onDrift: (drift: BudgetDrift) => void;
  signal?: AbortSignal;
};

/** Positive: the rows say more than the engine did. */
export type BudgetDrift = BudgetName & { accountId: string; deltaNanoUsd: number };

export type ReconcileResult = {
  /** Budgets that rested and were compared. */
  compared: number;
  adjusted: number;
  /** Budgets that did not rest; the next run looks at them again. */
  inUse: number;
};

type Subject = BudgetName & { accountId: string };
type Verdict = 'equal' | 'adjusted' | 'in_use' | 'absent';

export async function reconcileBudgets(db: Kysely<StoreSchema>, options: ReconcileOptions): Promise<ReconcileResult> {
  const { lookBackMs = 3_600_000, attempts = 10, retryMs = 500, signal } = options;
  const result: ReconcileResult = { compared: 0, adjusted: 0, inUse: 0 };
  let subjects = subjectsOf(await findRecentSpenders(db, lookBackMs));
  for (let attempt = 1; subjects.length > 0 && attempt <= attempts; attempt += 1) {
    if (attempt > 1) await pause(retryMs);
    const inUse: Subject[] = [];
    for (const subject of subjects) {
      if (signal?.aborted === true) return { ...result, inUse: subjects.length };
      const verdict = await reconcile(db, subject, options);
      if (verdict === 'in_use') inUse.push(subject);
      if (verdict === 'equal' || verdict === 'adjusted') result.compared += 1;
      if (verdict === 'adjusted') result.adjusted += 1;
    }
    subjects = inUse;
  }
  return { ...result, inUse: subjects.length };
}

/** Every budget that there could be: the engine answers at once for those that it does not have. */
function subjectsOf(spenders: Awaited<ReturnType<typeof findRecentSpenders>>): Subject[] {
  const scopes = new Map<string, string>();
  for (const { accountId, keyId } of spenders) {
    scopes.set(`account:${accountId}`, accountId);
    scopes.set(`key:${keyId}`, accountId);
  }
  return [...scopes].flatMap(([scope, accountId]) => budgetPeriods.map((period) => ({ accountId, scope, period })));
}

async function reconcile(db: Kysely<StoreSchema>, subject: Subject, options: ReconcileOptions): Promise<Verdict> {
  const { engine, unwrittenRows, onDrift } = options;
  const { accountId, scope, period } = subject;
  const budget = { scope, period };
  const reading = await engine.readBudget(accountId, budget);
  if (reading?.state === 'unknown') return 'absent';
  // Asked after the reading: whatever was settled before it has its row in the database, or is counted here.
  if (reading?.state !== 'at_rest' || unwrittenRows() > 0) return 'in_use';
  const deltaNanoUsd = difference(reading.spentNanoUsd, await spentBoundsNanoUsd(db, subject, reading.atMs));
  if (deltaNanoUsd === 0) return 'equal';
  if (!(await engine.adjustBudget(accountId, budget, { mark: reading.mark, deltaNanoUsd }))) return 'in_use';
  onDrift({ accountId, ...budget, deltaNanoUsd });
  return 'adjusted';
}

function difference(spentNanoUsd: number, { leastNanoUsd, mostNanoUsd }: SpendingBounds): number {
  if (spentNanoUsd < leastNanoUsd) return leastNanoUsd - spentNanoUsd;
  return spentNanoUsd > mostNanoUsd ? mostNanoUsd - spentNanoUsd : 0;
}
