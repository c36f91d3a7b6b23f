/** Reading what was typed: each function gives a value or throws a `UsageError` that says what would have been right. */
import { nearestName } from '../config/nearest-name.ts';
import type { GatewayConfig } from '../config/types.ts';
import { parseBudgetUsd } from '../config/units.ts';
import type { CommandIo, Invocation } from './command.ts';

export type Values = Invocation['values'];
export type LoadConfig = (flags: { config?: string }) => GatewayConfig;

/** Exit code 2. */
export class UsageError extends Error {}

const unitMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Runs a command's body and turns its errors into a line for a person and an exit code. */
export async function withExitCode(io: CommandIo, body: () => Promise<void>): Promise<number> {
  try {
    await body();
    return 0;
  } catch (error) {
    io.stderr(`${describe(error)}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

/** A refused connection has no message of its own, only a code. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? String(error.code) : error.name;
  const text = error.message === '' ? code : error.message;
  return error.cause instanceof Error ? `${text}: ${describe(error.cause)}` : text;
}

export function loadConfigFrom(loadConfig: LoadConfig, values: Values): GatewayConfig {
  const config = optionalText(values, 'config');
  return loadConfig(config === undefined ? {} : { config });
}

export function optionalText(values: Values, name: string): string | undefined {
  const value = values[name];
  if (value === undefined || typeof value === 'boolean') return undefined;
  if (value.trim() === '') throw new UsageError(`--${name} is empty`);
  return value.trim();
}

export function requiredText(values: Values, name: string): string {
  const value = optionalText(values, name);
  if (value === undefined) throw new UsageError(`--${name} is missing`);
  return value;
}

export function requiredEmail(values: Values): string {
  const email = requiredText(values, 'email');
  if (!/^[^\s@]+@[^\s@]+$/.test(email)) throw new UsageError(`"${email}" is no email address`);
  return email;
}

/** null: not given, so this limit is not set. */
export function optionalCount(values: Values, name: string): number | null {
  const text = optionalText(values, name);
  if (text === undefined) return null;
  const count = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(count)) throw new UsageError(`--${name} takes a whole number`);
  return count;
}

/** USD as typed, whole nano-USD given; null: not given. */
export function optionalUsd(values: Values, name: string): number | null {
  const text = optionalText(values, name);
  if (text === undefined) return null;
  const parsed = parseBudgetUsd(text);
  if (!parsed.ok) throw new UsageError(`--${name}: ${parsed.message}`);
  return parsed.value;
}

export function optionalList(values: Values, name: string): readonly string[] | null {
  const text = optionalText(values, name);
  if (text === undefined) return null;
  const items = text.split(',').map((item) => item.trim());
  if (items.includes('')) throw new UsageError(`--${name} takes names with commas between them`);
  return items;
}

/** A date, or a time from now: `30d`, `12h`, `90m`. */
export function optionalExpiry(values: Values, nowMs: number): number | null {
  const text = optionalText(values, 'expires');
  if (text === undefined) return null;
  const [, count, unit] = /^(\d+)([mhd])$/.exec(text) ?? [];
  const atMs = count === undefined ? Date.parse(text) : nowMs + Number(count) * (unitMs[unit ?? ''] ?? 0);
  if (Number.isNaN(new Date(atMs).getTime())) {
    throw new UsageError(`--expires takes a date such as 2030-01-31, or 30d, 12h, 90m; not "${text}"`);
  }
  if (atMs <= nowMs) throw new UsageError(`--expires ${text} is in the past`);
  return atMs;
}

export function knownTier(tiers: GatewayConfig['tiers'], name: string): string {
  const known = Object.keys(tiers);
  if (known.includes(name)) return name;
  const nearest = nearestName(name, known);
  const question = nearest === null ? '' : ` Did you mean ${nearest}?`;
  throw new UsageError(`there is no tier "${name}".${question} Known tiers: ${known.join(', ')}.`);
}

export function chosen<Name extends string>(
  positionals: readonly string[],
  names: readonly Name[],
  fallback?: Name,
): Name {
  const word = positionals[0];
  const name = names.find((name) => name === word) ?? (word === undefined ? fallback : undefined);
  if (name !== undefined) return name;
  throw new UsageError(`${word === undefined ? 'say what to do' : `"${word}" is unknown`}: ${names.join(', ')}`);
}

/** Columns for a terminal; the last one is not padded. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(...[head, ...rows].map((row) => (row[column] ?? title).length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [head, ...rows].map((row) => `${line(row)}\n`).join('');
}
