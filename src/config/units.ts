/**
 * Numbers as people write them: `20k`, `4MiB`, `500ms`, `2.50`. Digits are scaled as big integers, never as floats, so
 * what comes out is exactly what was written or a refusal. Each form carries the pattern that the schema shows to
 * editors and the sentence that both the editor and the start-up say when a value does not fit.
 */
export type Parsed<T> = { ok: true; value: T } | { ok: false; message: string };

/** For what a schema has checked already, where a failure could only repeat a message. */
export const valueOr = <T>(parsed: Parsed<T>, fallback: T): T => (parsed.ok ? parsed.value : fallback);

export type Form = { pattern: string; expected: string };

export const countForm: Form = {
  pattern: '^(unlimited|\\d{1,15}(\\.\\d{1,9})?[kKmMgG]?)$',
  expected: 'expected a count such as 10, 20k, 1m or unlimited',
};
export const tokensForm: Form = {
  pattern: '^\\d{1,15}(\\.\\d{1,9})?[kKmM]?$',
  expected: 'expected a number of tokens such as 8192, 128k or 1m',
};
export const reservationCapForm: Form = {
  pattern: '^(none|\\d{1,15}(\\.\\d{1,9})?[kKmM]?)$',
  expected: 'expected a number of tokens such as 4096 or 8k, or none',
};
export const shardsForm: Form = { pattern: '^\\d{1,3}$', expected: 'expected a number of shards between 1 and 256' };
export const sizeForm: Form = {
  pattern: '^\\d{1,15}(\\.\\d{1,9})?([kKmMgG](i?[bB])?|[bB])?$',
  expected: 'expected a size such as 65536, 512KiB or 4MiB',
};
export const durationForm: Form = {
  pattern: '^\\d{1,12}(\\.\\d{1,9})?(ms|s|m|h|d)$',
  expected: 'expected a duration such as 500ms, 10s, 30m or 7d',
};
export const historyForm: Form = {
  pattern: '^(unlimited|\\d{1,12}(\\.\\d{1,9})?(ms|s|m|h|d))$',
  expected: 'expected whole days such as 7d, or unlimited',
};
export const priceForm: Form = {
  pattern: '^(custom|(0|[1-9]\\d{0,8})(\\.\\d{1,2})?)$',
  expected: 'expected USD per month such as 0, 49 or 49.90, or custom',
};
export const budgetForm: Form = {
  pattern: '^(0|[1-9]\\d{0,6})(\\.\\d{1,9})?$',
  expected: 'expected USD such as 50 or 0.25, at most 4000000',
};
export const listPriceForm: Form = {
  pattern: '^(0|[1-9]\\d{0,5})(\\.\\d{1,6})?$',
  expected: 'expected USD per million tokens, with at most six decimals, such as 2.50',
};
export const dayForm: Form = {
  pattern: '^\\d{4}-\\d{2}-\\d{2}$',
  expected: 'expected a day of the calendar such as 2025-09-30',
};

/** Far above any real limit, and low enough that a bucket in token-milliseconds stays an exact number. */
export const maxCount = 10_000_000_000;
/** The longest string the runtime can hold is a little above it. */
export const maxSizeBytes = 512 * 1024 * 1024;
const maxShards = 256;
/** What a timer can wait, 2^31 - 1 ms, in whole days. */
export const maxDurationMs = 24 * 86_400_000;
const maxHistoryDays = 36_500;
/** Four million USD in nano-USD: sums of what many requests hold and spend stay exact above it. */
const maxBudgetNanoUsd = 4e15;

const refuse = (message: string): { ok: false; message: string } => ({ ok: false, message });
const accept = <T>(value: T): { ok: true; value: T } => ({ ok: true, value });

/** `digits` times `factor` when that is a whole safe number. */
function scale(digits: string, factor: number): number | null {
  const [whole = '0', fraction = ''] = digits.split('.');
  const scaled = BigInt(whole + fraction) * BigInt(factor);
  const divisor = 10n ** BigInt(fraction.length);
  const value = scaled / divisor;
  return scaled % divisor === 0n && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}

function scaleWithUnit(text: string, form: Form, factors: Readonly<Record<string, number>>): number | null {
  if (!new RegExp(form.pattern).test(text)) return null;
  const [, digits = '', unit = ''] = /^([\d.]+)(.*)$/.exec(text) ?? [];
  const factor = factors[unit.toLowerCase()];
  return factor === undefined ? null : scale(digits, factor);
}

const thousands = { '': 1, k: 1e3, m: 1e6, g: 1e9 };
const bytes = { ...thousands, b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };
const milliseconds = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Null is unlimited; 0 denies. */
export function parseCount(input: string | number): Parsed<number | null> {
  if (input === 'unlimited') return accept(null);
  const value = scaleWithUnit(String(input), countForm, thousands);
  if (value === null) return refuse(countForm.expected);
  return value > maxCount
    ? refuse('expected at most 10g (10,000,000,000); for no limit write unlimited')
    : accept(value);
}

export function parseTokens(input: string | number): Parsed<number> {
  const value = scaleWithUnit(String(input), tokensForm, thousands);
  if (value === null) return refuse(tokensForm.expected);
  return value > maxCount ? refuse('expected at most 10,000m tokens') : accept(value);
}

/** Null is none. */
export function parseReservationCap(input: string | number): Parsed<number | null> {
  return input === 'none' ? accept(null) : parseTokens(input);
}

export function parseShards(input: string | number): Parsed<number> {
  const text = String(input);
  const value = new RegExp(shardsForm.pattern).test(text) ? Number(text) : 0;
  return value < 1 || value > maxShards ? refuse(shardsForm.expected) : accept(value);
}

export function parseSize(input: string | number): Parsed<number> {
  const value = scaleWithUnit(String(input), sizeForm, bytes);
  if (value === null) return refuse(sizeForm.expected);
  return value < 1 || value > maxSizeBytes ? refuse('expected a size between 1 byte and 512MiB') : accept(value);
}

/** A clock of 0 would be off in one library and instant in the next, so it is refused. */
export function parseDuration(input: string | number): Parsed<number> {
  const value = scaleWithUnit(String(input), durationForm, milliseconds);
  if (value === null) return refuse(durationForm.expected);
  return value < 1 || value > maxDurationMs ? refuse('expected a duration between 1ms and 24d') : accept(value);
}

/** Null is unlimited. */
export function parseHistoryDays(input: string | number): Parsed<number | null> {
  if (input === 'unlimited') return accept(null);
  const value = scaleWithUnit(String(input), historyForm, milliseconds);
  if (value === null || value % milliseconds.d !== 0) return refuse(historyForm.expected);
  const days = value / milliseconds.d;
  return days > maxHistoryDays ? refuse('expected at most 36500d; for no limit write unlimited') : accept(days);
}

/** Null is unlimited. */
export function parseRetentionDays(input: string | number, leastDays: number): Parsed<number | null> {
  const parsed = parseHistoryDays(input);
  if (!parsed.ok || parsed.value === null || parsed.value >= leastDays) return parsed;
  return refuse(`expected at least ${leastDays}d, or unlimited`);
}

export function parsePriceUsd(input: string | number): Parsed<string> {
  const text = String(input);
  return new RegExp(priceForm.pattern).test(text) ? accept(text) : refuse(priceForm.expected);
}

/** USD in, nano-USD (1e-9) out; 0 denies. */
export function parseBudgetUsd(input: string | number): Parsed<number> {
  const text = String(input);
  const value = new RegExp(budgetForm.pattern).test(text) ? scale(text, 1e9) : null;
  return value === null || value > maxBudgetNanoUsd ? refuse(budgetForm.expected) : accept(value);
}

/** USD per million tokens in, pico-USD per token out. */
export function parseListPrice(input: string | number): Parsed<number> {
  const text = String(input);
  const value = new RegExp(listPriceForm.pattern).test(text) ? scale(text, 1e6) : null;
  return value === null ? refuse(listPriceForm.expected) : accept(value);
}

/** Unix seconds of a UTC day. `2025-02-30` would roll over into March without a word. */
export function parseDay(input: string | number): Parsed<number> {
  const text = String(input);
  const milliseconds = new RegExp(dayForm.pattern).test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  const isReal = !Number.isNaN(milliseconds) && new Date(milliseconds).toISOString().startsWith(text);
  return isReal ? accept(milliseconds / 1000) : refuse(dayForm.expected);
}

export function parsePort(input: string | number): Parsed<number> {
  const text = String(input);
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return port <= 65_535 ? accept(port) : refuse('expected a port between 0 and 65535');
}

export function parseFlag(input: string | number | boolean): Parsed<boolean> {
  const text = String(input).toLowerCase();
  if (text === 'true' || text === '1') return accept(true);
  if (text === 'false' || text === '0') return accept(false);
  return refuse('expected true or false');
}
