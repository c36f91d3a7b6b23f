/** Markdown tables and the few ways a number is printed. */
import type { Summary } from './statistics.ts';

export const emptyCell = '-';

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${widths.map((width, column) => (row[column] ?? '').padEnd(width)).join(' | ')} |`;
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  const [first = [], ...rest] = cells;
  return [line(first), rule, ...rest.map(line)].join('\n');
}

/** Three figures that carry information, thousands with a comma. */
export function formatNumber(value: number, digits?: number): string {
  if (!Number.isFinite(value)) return emptyCell;
  const places = digits ?? (Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
  return value.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places });
}

/** `67.2 (66.1-68.0)`: the median and the quartiles around it. */
export function formatSummary(
  summary: Summary | null,
  { digits, factor = 1 }: { digits?: number; factor?: number } = {},
): string {
  if (summary === null) return emptyCell;
  const [median, q1, q3] = [summary.median, summary.q1, summary.q3].map((value) =>
    formatNumber(value * factor, digits),
  );
  return summary.count < 2 ? `${median}` : `${median} (${q1}-${q3})`;
}

export function formatMegabytes(bytes: number | null): string {
  return bytes === null ? emptyCell : formatNumber(bytes / 1e6, 0);
}

/** A reason as it fits a cell; the whole of it was said while the run went on. */
export function shorten(text: string, length = 110): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).trimEnd()}…`;
}
