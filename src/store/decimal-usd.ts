const placesOfPico = 12;

/** Pico-USD as the decimal that the ledger keeps, digit by digit: `0.000000000001` is one. No float ever holds a price in USD. */
export function formatUsd(picoUsd: number): string {
  const isNegative = picoUsd < 0;
  const rounded = Math.round(Math.abs(picoUsd));
  // Throws a RangeError for what is no number; a cost that nobody can name must not become 0.
  const digits = (Number.isSafeInteger(rounded) ? rounded : BigInt(rounded)).toString().padStart(placesOfPico + 1, '0');
  return `${isNegative ? '-' : ''}${digits.slice(0, -placesOfPico)}.${digits.slice(-placesOfPico)}`;
}
