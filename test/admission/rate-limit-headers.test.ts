import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { formatGoDuration, rateLimitHeaders } from '../../src/admission/rate-limit-headers.ts';
import type { BucketState } from '../../src/contract/admission.ts';

const requests = (limit: number, remaining: number, scope = 'account:a'): BucketState => ({
  rule: 'requests',
  scope,
  limit,
  remaining,
  windowMs: 60_000,
});
const tokens = (limit: number, remaining: number, scope = 'account:a'): BucketState => ({
  ...requests(limit, remaining, scope),
  rule: 'tokens',
});

t.test('prints durations as Go does when they are of any size', (t) => {
  const expected: [number, string][] = [
    [0, '0s'],
    [-5, '0s'],
    [Number.NaN, '0s'],
    [0.6, '0s'],
    [1, '1ms'],
    [999.9, '999ms'],
    [1000, '1s'],
    [1798, '1.798s'],
    [8640, '8.64s'],
    [59_999, '59.999s'],
    [60_000, '1m0s'],
    [60_100, '1m0.1s'],
    [360_000, '6m0s'],
    [3_600_000, '1h0m0s'],
    [3_661_001, '1h1m1.001s'],
    [360_000_000, '100h0m0s'],
  ];
  for (const [durationMs, text] of expected) t.equal(formatGoDuration(durationMs), text, String(durationMs));
  t.end();
});

t.test('gives six headers when both kinds are limited', (t) => {
  t.same(rateLimitHeaders([requests(500, 499), tokens(200_000, 199_917)]), {
    'x-ratelimit-limit-requests': '500',
    'x-ratelimit-remaining-requests': '499',
    'x-ratelimit-reset-requests': '120ms',
    'x-ratelimit-limit-tokens': '200000',
    'x-ratelimit-remaining-tokens': '199917',
    'x-ratelimit-reset-tokens': '24ms',
  });
  t.end();
});

t.test('gives no header of a kind when nothing limits it', (t) => {
  t.same(rateLimitHeaders([]), {});
  t.same(Object.keys(rateLimitHeaders([tokens(10, 5)])), [
    'x-ratelimit-limit-tokens',
    'x-ratelimit-remaining-tokens',
    'x-ratelimit-reset-tokens',
  ]);
  t.end();
});

t.test('lets the bucket with the smallest share left speak when account and key both limit', (t) => {
  const headers = rateLimitHeaders([
    requests(500, 100),
    tokens(1000, 10),
    requests(100, 50, 'key:k'),
    tokens(100, 9, 'key:k'),
  ]);
  t.match(headers, { 'x-ratelimit-limit-requests': '500', 'x-ratelimit-remaining-requests': '100' });
  t.match(headers, { 'x-ratelimit-limit-tokens': '1000', 'x-ratelimit-remaining-tokens': '10' });
  t.end();
});

t.test('lets a limit of 0 speak when another has room', (t) => {
  t.match(rateLimitHeaders([requests(500, 0), requests(0, 0, 'key:k')]), {
    'x-ratelimit-limit-requests': '0',
    'x-ratelimit-remaining-requests': '0',
    'x-ratelimit-reset-requests': '0s',
  });
  t.end();
});

const recordings = join(import.meta.dirname, '../../../shared/fixtures');

t.test('equals every header pair recorded from the original server when the recordings are at hand', (t) => {
  if (!existsSync(recordings)) {
    t.comment(`the recordings are not at ${recordings}: nothing compared`);
    t.end();
    return;
  }
  let pairs = 0;
  for (const path of globSync('**/hdr-*.json', { cwd: recordings })) {
    const headers: Record<string, string> = JSON.parse(readFileSync(join(recordings, path), 'utf8')).response.headers;
    for (const rule of ['requests', 'tokens'] as const) {
      const reset = headers[`x-ratelimit-reset-${rule}`];
      if (reset === undefined) continue;
      const limit = Number(headers[`x-ratelimit-limit-${rule}`]);
      const remaining = Number(headers[`x-ratelimit-remaining-${rule}`]);
      // One recorded key has a limit by the day; all others go by the minute.
      const windowMs = rule === 'requests' && limit === 10_000 ? 86_400_000 : 60_000;
      const ours = rateLimitHeaders([{ rule, scope: 'account:a', limit, remaining, windowMs }]);
      t.equal(ours[`x-ratelimit-reset-${rule}`], reset, `${path} ${rule}: ${remaining} of ${limit}`);
      pairs += 1;
    }
  }
  t.equal(pairs, 33);
  t.end();
});
