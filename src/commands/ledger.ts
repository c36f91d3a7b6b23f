/**
 * `tollgate ledger`: shows usage records that no row could be made of, tries them again, and works the cost of rows out
 * again from their tokens.
 */
import { createUuidV7 } from '../platform/uuid.ts';
import { insertAuditEntry } from '../store/audit-log.ts';
import { listUsageDeadLetters } from '../store/usage-dead-letters.ts';
import { checkCosts } from '../usage/cost-check.ts';
import { type ReplayOutcome, replayDeadLetters } from '../usage/dead-letters.ts';
import {
  chosen,
  formatTable,
  type LoadConfig,
  loadConfigFrom,
  optionalCount,
  UsageError,
  type Values,
  withExitCode,
} from './arguments.ts';
import { commandLog } from './command-log.ts';
import type { Command, CommandIo, Invocation } from './command.ts';
import { openStore, type OpenStore } from './open-store.ts';

export type LedgerCommandOptions = { loadConfig: LoadConfig; clock?: () => number };

const shownLetters = 50;
const checkedDays = 31;
const dayMs = 86_400_000;

export function createLedgerCommand({ loadConfig, clock = Date.now }: LedgerCommandOptions): Command {
  return {
    summary: 'Show usage records that no row could be made of (dead letters), try them again, and check what rows cost',
    usage: 'ledger list|replay|check [options]',
    examples: [
      'tollgate ledger list --limit 100 --json',
      'tollgate ledger replay',
      'tollgate ledger replay --id 17',
      'tollgate ledger check --days 31',
    ],
    options: {
      config: { type: 'string' },
      id: { type: 'string' },
      limit: { type: 'string' },
      days: { type: 'string' },
      json: { type: 'boolean' },
    },
    run: async (invocation) => withExitCode(invocation.io, async () => runLedger(invocation, { loadConfig, clock })),
  };
}

async function runLedger(
  { positionals, values, io }: Invocation,
  { loadConfig, clock }: Required<LedgerCommandOptions>,
): Promise<void> {
  const action = chosen(positionals, ['list', 'replay', 'check']);
  const [id, limit] = [optionalCount(values, 'id'), optionalCount(values, 'limit')];
  if (limit === 0) throw new UsageError('--limit takes a whole number from 1 on');
  const days = optionalCount(values, 'days') ?? checkedDays;
  const store = await openStore(loadConfigFrom(loadConfig, values), { log: commandLog(io) });
  try {
    if (action === 'list') await list(store.db, { limit: limit ?? shownLetters, values, io });
    else if (action === 'check') await check(store.db, { fromMs: clock() - days * dayMs, values, io });
    else await replay(store.db, { id: id === null ? null : String(id), nowMs: clock(), values, io });
  } finally {
    await store.close();
  }
}

type Said = { values: Values; io: CommandIo };

async function list(db: OpenStore['db'], { limit, values, io }: Said & { limit: number }): Promise<void> {
  const letters = await listUsageDeadLetters(db, limit);
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify(letters)}\n`);
    return;
  }
  const rows = letters.map(({ id, atMs, requestId, error }) => [
    id,
    new Date(atMs).toISOString(),
    requestId ?? '-',
    error,
  ]);
  io.stdout(formatTable(['ID', 'AT', 'REQUEST', 'WHY'], rows));
}

async function replay(
  db: OpenStore['db'],
  { id, nowMs, values, io }: Said & { id: string | null; nowMs: number },
): Promise<void> {
  const outcomes: ReplayOutcome[] = [];
  for await (const outcome of replayDeadLetters(db, id)) outcomes.push(outcome);
  if (id !== null && outcomes.length === 0) throw new Error(`there is no dead letter ${id}`);
  const left = outcomes.filter(({ reason }) => reason !== null);
  const written = outcomes.length - left.length;
  if (written > 0) await audit(db, { nowMs, detail: { written, left: left.length } });
  if (values['json'] === true) io.stdout(`${JSON.stringify(outcomes)}\n`);
  else {
    const rows = outcomes.map(({ id: letter, requestId, reason }) => [letter, requestId ?? '-', reason ?? 'written']);
    io.stdout(formatTable(['ID', 'REQUEST', 'RESULT'], rows));
  }
  if (left.length > 0) throw new Error(`${left.length} of ${outcomes.length} dead letters are left as they were`);
}

async function check(db: OpenStore['db'], { fromMs, values, io }: Said & { fromMs: number }): Promise<void> {
  const { checked, wrong } = await checkCosts(db, { fromMs });
  if (values['json'] === true) io.stdout(`${JSON.stringify({ checked, wrong })}\n`);
  else if (wrong.length > 0) {
    const rows = wrong.map(({ requestId, storedUsd, expectedUsd }) => [requestId, storedUsd, expectedUsd]);
    io.stdout(formatTable(['REQUEST', 'STORED USD', 'EXPECTED USD'], rows));
  }
  if (wrong.length > 0) throw new Error(`of ${checked} rows these cost something else than their tokens say`);
  io.stderr(`${checked} rows cost what their tokens say.\n`);
}

async function audit(
  db: OpenStore['db'],
  { nowMs, detail }: { nowMs: number; detail: { written: number; left: number } },
): Promise<void> {
  await insertAuditEntry(db, {
    id: createUuidV7(nowMs),
    atMs: nowMs,
    actorKind: 'cli',
    actorId: null,
    accountId: null,
    action: 'ledger.replay',
    targetKind: 'ledger',
    targetId: 'dead-letters',
    detail,
  });
}
