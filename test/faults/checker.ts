/** Lays the driver's log, the provider's ledger and the usage rows side by side. Spec: reliability 9.3. */
import type { Answer } from './driver.ts';
import { promptTokens, type LedgerLine } from './mock-upstream.ts';

export type UsageRow = {
  requestId: string;
  marker: string;
  rank: number;
  status: string;
  usageSource: string;
  promptTokens: number;
  completionTokens: number;
};

export type Evidence = {
  answers: readonly Answer[];
  ledger: readonly LedgerLine[];
  rows: readonly UsageRow[];
  /** Gateways that died, by their address, and when. */
  kills?: readonly { gateway: string; atMs: number }[];
};

const finalRank = 3;
/** An answer whose last byte left this shortly before its gateway died may not have been settled: an estimate is right. */
const unsettledMs = 1000;

/** Every contradiction, in words; empty when the books agree. */
export function findFaults({ answers, ledger, rows, kills = [] }: Evidence): string[] {
  const rowsOf = groupBy(rows, ({ marker }) => marker);
  const attemptsOf = groupBy(ledger, ({ marker }) => marker);
  return [
    ...ledger.flatMap((line) => (rowsOf.has(line.marker) ? [] : [`missing: ${line.marker} ran and has no row`])),
    ...duplicates(rows.map(({ requestId }) => requestId)).map((id) => `duplicate: ${id} has two rows`),
    ...[...rowsOf].flatMap(([marker, found]) =>
      found.length > 1 ? [`duplicate: ${marker} has ${found.length} rows (${found.map(describe).join('; ')})`] : [],
    ),
    ...[...attemptsOf].flatMap(([marker, found]) =>
      found.length > 1 ? [`repeated: ${marker} went upstream ${found.length} times`] : [],
    ),
    ...rows.flatMap((row) => findRowFaults(row, attemptsOf.get(row.marker)?.[0])),
    ...answers.flatMap((answer) => findAnswerFaults(answer, { rowsOf, attemptsOf, kills })),
  ];
}

function findRowFaults(row: UsageRow, line: LedgerLine | undefined): string[] {
  if (line === undefined) {
    return row.status === 'not_dispatched' ? [] : [`invented: ${row.marker} never ran (${describe(row)})`];
  }
  const isExact = row.rank === finalRank && row.usageSource === 'provider';
  const isTrue = row.promptTokens === promptTokens && row.completionTokens === line.tokens;
  return isExact && !isTrue ? [`wrong: ${row.marker} used ${line.tokens} tokens (${describe(row)})`] : [];
}

type Books = {
  rowsOf: ReadonlyMap<string, readonly UsageRow[]>;
  attemptsOf: ReadonlyMap<string, unknown>;
  kills: NonNullable<Evidence['kills']>;
};

function findAnswerFaults(answer: Answer, { rowsOf, attemptsOf, kills }: Books): string[] {
  const { marker, status } = answer;
  const [row] = rowsOf.get(marker) ?? [];
  const wasRefused =
    status === 400 || status === 429 || status === 401 || (status === 503 && answer.code !== 'overloaded');
  if (wasRefused && attemptsOf.has(marker)) return [`leaked: ${marker} was refused with ${status} and ran`];
  const isCutOff = kills.some(
    ({ gateway, atMs }) => gateway === answer.gateway && answer.endedAtMs > atMs - unsettledMs,
  );
  if (isCutOff && row?.status === 'orphaned') return [];
  if (answer.isComplete && row?.rank !== finalRank) {
    return [`poor: ${marker} was answered whole (${row === undefined ? 'no row' : describe(row)})`];
  }
  return [];
}

const describe = (row: UsageRow): string => `rank ${row.rank}, ${row.status}, ${row.requestId}`;

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}

function duplicates(values: readonly string[]): string[] {
  return [...groupBy(values, (value) => value)].flatMap(([value, found]) => (found.length > 1 ? [value] : []));
}

/** The lines that a run prints beside its seed. */
export const countStatuses = (rows: readonly UsageRow[]): string => count(rows.map(({ status }) => status));

export const countAnswers = (answers: readonly Answer[]): string =>
  count(answers.map(({ status, code, isComplete }) => code ?? `${status}${isComplete ? '' : ' broken off'}`));

const count = (words: readonly string[]): string =>
  [...groupBy(words, (word) => word)].map(([word, found]) => `${word} ${found.length}`).join(', ');
