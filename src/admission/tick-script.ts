/** The text of the Redis script and its hash. Read when an engine is made, never when this module is loaded. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export type TickScript = { text: string; sha: string };

/**
 * Settlements must pass at full memory, and without the flag the server refuses the whole script; admission has a gate
 * of its own. `clockLua` defines `readClock()`: tests put a clock there that stands still.
 */
export function loadTickScript(clockLua: string = readLua('clock')): TickScript {
  const text = ['#!lua flags=allow-oom', clockLua, ...parts.map(readLua)].join('\n');
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** Each uses what those before it define. */
const parts = ['head', 'buckets', 'plans', 'budgets', 'records', 'sets', 'admit', 'settle', 'leases', 'run'];

const readLua = (part: string): string => readFileSync(new URL(`tick-v1-${part}.lua`, import.meta.url), 'utf8');
