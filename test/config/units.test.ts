import * as fc from 'fast-check';
import t from 'tap';
import * as units from '../../src/config/units.ts';

/** The value, or `refused`. */
const read = <T>(parsed: units.Parsed<T>): T | 'refused' => (parsed.ok ? parsed.value : 'refused');

t.test('reads a count as the whole number that was meant', (t) => {
  const expected: Record<string, number | null | 'refused'> = {
    '0': 0,
    '10': 10,
    '20k': 20_000,
    '1m': 1_000_000,
    '1M': 1_000_000,
    '1.5k': 1500,
    '2.5m': 2_500_000,
    '10g': 10_000_000_000,
    unlimited: null,
    '11g': 'refused',
    '1.5': 'refused',
    '0.0001k': 'refused',
    '-1': 'refused',
    '+1': 'refused',
    NaN: 'refused',
    Infinity: 'refused',
    '1e3': 'refused',
    '0x10': 'refused',
    '1 k': 'refused',
    '1kk': 'refused',
    '': 'refused',
    '.5k': 'refused',
    '1_000': 'refused',
    '999999999999999k': 'refused',
    '١': 'refused',
    '10\n': 'refused',
  };
  for (const [text, value] of Object.entries(expected))
    t.equal(read(units.parseCount(text)), value, JSON.stringify(text));
  t.equal(read(units.parseCount(Number.NaN)), 'refused');
  t.equal(read(units.parseCount(-0.5)), 'refused');
  t.equal(read(units.parseCount(1e21)), 'refused');
  t.end();
});

t.test('reads a size in bytes when its unit is decimal or binary', (t) => {
  const expected: Record<string, number | 'refused'> = {
    '1': 1,
    '512B': 512,
    '20k': 20_000,
    '20KB': 20_000,
    '4MiB': 4_194_304,
    '4mib': 4_194_304,
    '1.5KiB': 1536,
    '512MiB': 536_870_912,
    '513MiB': 'refused',
    '1GiB': 'refused',
    '0': 'refused',
    '1.1B': 'refused',
    '4 MiB': 'refused',
    '4Mi': 'refused',
    '4TiB': 'refused',
  };
  for (const [text, value] of Object.entries(expected)) t.equal(read(units.parseSize(text)), value, text);
  t.end();
});

t.test('reads a duration in milliseconds when its unit is written', (t) => {
  const expected: Record<string, number | 'refused'> = {
    '500ms': 500,
    '10s': 10_000,
    '1.5s': 1500,
    '30m': 1_800_000,
    '2h': 7_200_000,
    '24d': units.maxDurationMs,
    '25d': 'refused',
    '0s': 'refused',
    '0.5ms': 'refused',
    '10': 'refused',
    '1w': 'refused',
    '10S': 'refused',
    '1h30m': 'refused',
    '-1s': 'refused',
  };
  for (const [text, value] of Object.entries(expected)) t.equal(read(units.parseDuration(text)), value, text);
  t.equal(read(units.parseDuration(10)), 'refused');
  t.end();
});

t.test('reads how long conversations are kept when it is whole days', (t) => {
  const expected: Record<string, number | null | 'refused'> = {
    '7d': 7,
    '0d': 0,
    '48h': 2,
    unlimited: null,
    '12h': 'refused',
    '36500d': 36_500,
    '36501d': 'refused',
    forever: 'refused',
  };
  for (const [text, value] of Object.entries(expected)) t.equal(read(units.parseHistoryDays(text)), value, text);
  t.end();
});

t.test('keeps money as the decimal text that was written', (t) => {
  const expected: Record<string, string> = {
    '0': '0',
    '49': '49',
    '49.90': '49.90',
    custom: 'custom',
    '1.999': 'refused',
    '049': 'refused',
    '-1': 'refused',
    $49: 'refused',
    '49,90': 'refused',
    Custom: 'refused',
  };
  for (const [text, value] of Object.entries(expected)) t.equal(read(units.parsePriceUsd(text)), value, text);
  t.end();
});

t.test('turns a list price into whole pico-USD per token', (t) => {
  const expected: Record<string, number | 'refused'> = {
    '2.50': 2_500_000,
    '0.075': 75_000,
    '0.000001': 1,
    '0': 0,
    '75': 75_000_000,
    '0.0000001': 'refused',
    '1e-7': 'refused',
    '-1': 'refused',
    '1000000': 'refused',
  };
  for (const [text, value] of Object.entries(expected)) t.equal(read(units.parseListPrice(text)), value, text);
  t.end();
});

t.test('reads days, ports, flags and tokens when they are what they say', (t) => {
  t.equal(read(units.parseDay('1970-01-02')), 86_400);
  t.equal(read(units.parseDay('2024-02-29')), 1_709_164_800);
  for (const text of ['2025-02-29', '2025-13-01', '25-01-01', '2025-1-1', '']) {
    t.equal(read(units.parseDay(text)), 'refused', text);
  }
  t.same(
    [0, '8080', 65_535].map((port) => read(units.parsePort(port))),
    [0, 8080, 65_535],
  );
  for (const port of [65_536, -1, 1.5, '80 ', '0x50', ''])
    t.equal(read(units.parsePort(port)), 'refused', String(port));
  t.same(
    [true, 'TRUE', '1', 1].map((flag) => read(units.parseFlag(flag))),
    [true, true, true, true],
  );
  t.same(
    [false, 'False', '0', 0].map((flag) => read(units.parseFlag(flag))),
    [false, false, false, false],
  );
  for (const flag of ['yes', 'on', '', 2]) t.equal(read(units.parseFlag(flag)), 'refused', String(flag));
  t.same(
    ['8192', '128k', '1m', 1_047_576].map((text) => read(units.parseTokens(text))),
    [8192, 128_000, 1e6, 1_047_576],
  );
  t.equal(read(units.parseTokens('unlimited')), 'refused');
  t.end();
});

t.test('agrees with exact arithmetic when digits and units are arbitrary', (t) => {
  const digits = fc.tuple(fc.nat({ max: 9999 }), fc.option(fc.stringMatching(/^\d{1,6}$/), { nil: undefined }));
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(digits, fc.constantFrom('', 'k', 'm'), ([whole, fraction], unit) => {
        const text = `${whole}${fraction === undefined ? '' : `.${fraction}`}${unit}`;
        const factor = { '': 1n, k: 1000n, m: 1_000_000n }[unit] ?? 0n;
        const scaled = BigInt(`${whole}${fraction ?? ''}`) * factor;
        const divisor = 10n ** BigInt(fraction?.length ?? 0);
        const isWhole = scaled % divisor === 0n;
        const value = read(units.parseCount(text));
        return value === (isWhole ? Number(scaled / divisor) : 'refused');
      }),
    ),
  );
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.nat({ max: 999_999_999_999 }), (picoUsd) => {
        const padded = String(picoUsd).padStart(7, '0');
        return read(units.parseListPrice(`${padded.slice(0, -6)}.${padded.slice(-6)}`)) === picoUsd;
      }),
    ),
  );
  t.end();
});

t.test('never gives a number that is negative, broken or huge, whatever the text', (t) => {
  const parsers = [units.parseCount, units.parseTokens, units.parseSize, units.parseDuration, units.parseHistoryDays];
  const texts = fc.oneof(fc.string(), fc.stringMatching(/^[0-9.kmgKMGiBhds-]{0,12}$/), fc.double(), fc.integer());
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(texts, fc.constantFrom(...parsers), (text, parse) => {
        const value = read<number | null>(parse(text));
        return (
          value === 'refused' ||
          value === null ||
          (Number.isSafeInteger(value) && value >= 0 && value <= units.maxCount)
        );
      }),
    ),
  );
  t.end();
});

t.test('reads a budget as whole nano-USD, and nothing that a float would blur', (t) => {
  const expected: Record<string, number | 'refused'> = {
    '0': 0,
    '50': 50_000_000_000,
    '0.25': 250_000_000,
    '0.000000001': 1,
    '4000000': 4e15,
    '4000000.000000001': 'refused',
    '9999999': 'refused',
    '0.0000000001': 'refused',
    '-1': 'refused',
    '1e3': 'refused',
    '05': 'refused',
    '5.': 'refused',
    $5: 'refused',
    unlimited: 'refused',
    '': 'refused',
  };
  for (const [text, value] of Object.entries(expected))
    t.equal(read(units.parseBudgetUsd(text)), value, JSON.stringify(text));
  t.equal(read(units.parseBudgetUsd(0.1)), 100_000_000);
  t.equal(read(units.parseBudgetUsd(1e-7)), 'refused');
  t.end();
});
