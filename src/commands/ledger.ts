/** `tollgate ledger`: shows usage records that no row could be made of, and tries them again. */
import { createUuidV7 } from '../platform/uuid.ts';
import { insertAuditEntry } from '../store/audit-log.ts';
import { listUsageDeadLetters } from '../store/usage-dead-letters.ts';
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

export function createLedgerCommand({ loadConfig, clock = Date.now }: LedgerCommandOptions): Command {
  return {
    summary: 'Show usage records that no row could be made of (dead letters), and try them again',
    usage: 'ledger list|replay [options]',
    examples: ['tollgate ledger list --limit 100 --json', 'tollgate ledger replay', 'tollgate ledger replay --id 17'],
    options: {
      config: { type: 'string' },
      id: { type: 'string' },
      limit: { type: 'string' },
      json: { type: 'boolean' },
    },
    run: async (invocation) => withExitCode(invocation.io, async () => runLedger(invocation, { loadConfig, clock })),
  };
}

async function runLedger(
  { positionals, values, io }: Invocation,
  { loadConfig, clock }: Required<LedgerCommandOptions>,
): Promise<void> {
  const action = chosen(positionals, ['list', 'replay']);
  const [id, limit] = [optionalCount(values, 'id'), optionalCount(values, 'limit')];
  if (limit === 0) throw new UsageError('--limit takes a whole number from 1 on');
  const store = await openStore(loadConfigFrom(loadConfig, values), { log: commandLog(io) });
  try {
    if (action === 'list') await list(store.db, { limit: limit ?? shownLetters, values, io });
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
