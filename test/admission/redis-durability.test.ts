import t from 'tap';
import type { Redis } from 'ioredis';
import { warnOfRedisDurability } from '../../src/admission/redis-durability.ts';

async function warningsOf(settings: Readonly<Record<string, string>> | null): Promise<string[]> {
  const warnings: string[] = [];
  const redis = {
    async config(_get: string, name: string) {
      if (settings === null) throw new Error("NOPERM this user has no permissions to run the 'config|get' command");
      return name in settings ? [name, settings[name]] : [];
    },
  };
  await warnOfRedisDurability(redis as unknown as Redis, { warn: (_, message) => warnings.push(message) });
  return warnings;
}

t.test('says when the server may forget what it has answered', async (t) => {
  t.same(await warningsOf({ appendonly: 'yes', appendfsync: 'always' }), []);
  t.match(await warningsOf({ appendonly: 'yes', appendfsync: 'everysec' }), [
    /set appendonly yes and appendfsync always/,
  ]);
  t.match(await warningsOf({ appendonly: 'no', appendfsync: 'always' }), [/set appendonly yes/]);
});

t.test('says when the server does not tell', async (t) => {
  t.match(await warningsOf(null), [/does not show/]);
  t.match(await warningsOf({}), [/does not show/]);
});
