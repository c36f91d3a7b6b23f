/**
 * Gateways and their stores start in any order: a database server that is not there yet is waited for, and one that
 * refuses us is an error at once. Spec: reliability 5, scenario 35.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Kysely, sql } from 'kysely';
import { type DatabaseLog, openDatabase } from '../platform/postgres.ts';

const attemptMs = 2_000;
const longestPauseMs = 1_000;

/** Resolves with whether it answers; false only when it was told to stop waiting, at the latest after one more attempt. */
export async function awaitDatabase(url: string, log: DatabaseLog, signal: AbortSignal): Promise<boolean> {
  const { db, close } = await openDatabase<Record<string, never>>({
    url,
    dataDirectory: '',
    poolSize: 1,
    acquireTimeoutMs: attemptMs,
    statementTimeoutMs: attemptMs,
    log,
  });
  try {
    return await untilAnswered(db, log, signal);
  } finally {
    await close();
  }
}

async function untilAnswered(
  db: Kysely<Record<string, never>>,
  log: DatabaseLog,
  signal: AbortSignal,
): Promise<boolean> {
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    try {
      await sql`select 1`.execute(db);
      if (attempt > 1) log.info({ attempts: attempt }, 'the database answers');
      return true;
    } catch (error) {
      if (!isAway(error)) throw error;
      if (attempt === 1) log.warn({ err: error }, 'the database does not answer yet: the start waits for it');
    }
    await pause(longestPauseMs * (0.5 + Math.random() / 2), signal);
  }
  return false;
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(durationMs, undefined, { signal });
  } catch {
    // Aborted: the pause is over.
  }
}

/** A wrong password or a database that does not exist is no matter of time. */
function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? String(error.code) : null;
  // Without a code are the driver's own: no connection in time, and one that ended under a question.
  return code === null ? /timeout|terminated/i.test(error.message) : away.test(code);
}

/** Of the system; and of a server that starts, stops, or has no connection left. */
const away = /^(?:E(?:CONN|HOST|NET|TIMEDOUT|PIPE|NOTFOUND|AI_AGAIN)|08|57P0[123]|53300)/;
