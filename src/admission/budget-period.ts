/** The calendar of money budgets: UTC days, weeks from Monday, months; each numbered the same here and in the script. */
import type { BudgetPeriod } from '../contract/admission.ts';

const dayMs = 86_400_000;

export function periodNumber(period: BudgetPeriod, atMs: number): number {
  const day = Math.floor(atMs / dayMs);
  switch (period) {
    case 'daily':
      return day;
    case 'weekly':
      // The first day of 1970 was a Thursday.
      return Math.floor((day + 3) / 7);
    case 'monthly': {
      const date = new Date(atMs);
      return date.getUTCFullYear() * 12 + date.getUTCMonth();
    }
    case 'total':
      return 0;
  }
}

/** Unix milliseconds; null for a period that never ends. */
export function periodEndMs(period: BudgetPeriod, number: number): number | null {
  switch (period) {
    case 'daily':
      return (number + 1) * dayMs;
    case 'weekly':
      return ((number + 1) * 7 - 3) * dayMs;
    case 'monthly':
      return Date.UTC(Math.floor(number / 12), (number % 12) + 1, 1);
    case 'total':
      return null;
  }
}
