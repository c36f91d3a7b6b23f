import t from 'tap';
import { createApiKey, generateApiKey, hashApiKey, pepperIdOf } from '../../src/auth/api-key.ts';
import {
  createKeyAuthenticator,
  type KeyAuthenticator,
  type KeyAuthenticatorOptions,
} from '../../src/auth/key-authenticator.ts';
import type { AuthResult, Tier } from '../../src/contract/flow.ts';
import type { KeyRow } from '../../src/store/api-keys.ts';

const pepper = 'pepper of the tests';
const none = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };
const pro: Tier = { id: 'pro', priceUsd: '49', limits: none, historyDays: 30, models: '*' };
const { token, publicId } = createApiKey('AbCdEf123456', 'secret'.padEnd(43, '0'));

function keyRow(changes: Partial<KeyRow> = {}): KeyRow {
  return {
    id: '018bcfe5-6800-7000-8000-00000000000b',
    publicId,
    accountId: '018bcfe5-6800-7000-8000-00000000000a',
    secretHash: hashApiKey(pepper, token),
    pepperId: pepperIdOf(pepper),
    status: 'active',
    strict: false,
    ownCredentials: null,
    keyVersion: 3,
    limits: none,
    allowedModels: null,
    expiresAtMs: null,
    tier: 'pro',
    accountStatus: 'active',
    accountVersion: 7,
    ...changes,
  };
}

type World = KeyAuthenticator & {
  /** What the store says from now on; a function that throws is a store that is down. */
  store: { find: (publicId: string) => Promise<KeyRow | null> };
  lookups: string[];
  nowMs: number;
};

function createWorld(options: Partial<KeyAuthenticatorOptions> = {}): World {
  const world = {
    store: { find: async (id: string): Promise<KeyRow | null> => (id === publicId ? keyRow() : null) },
    lookups: [] as string[],
    nowMs: 1_700_000_000_000,
  };
  const authenticator = createKeyAuthenticator({
    pepper,
    tierOf: (id) => (id === 'pro' ? pro : undefined),
    clock: () => world.nowMs,
    findKey: async (id) => {
      world.lookups.push(id);
      return world.store.find(id);
    },
    ...options,
  });
  return Object.assign(world, authenticator);
}

const down = async (): Promise<never> => Promise.reject(new Error('the store is down'));
const valid = { kind: 'valid' } as const;
const invalid = (reason: string): object => ({ kind: 'invalid', reason });

t.test('gives the principal of a good key', async (t) => {
  const world = createWorld();
  world.store.find = async () => keyRow({ allowedModels: ['small-*'], limits: { ...none, concurrency: 2 } });
  t.strictSame(await world.authenticate(token), {
    kind: 'valid',
    principal: {
      accountId: '018bcfe5-6800-7000-8000-00000000000a',
      keyId: '018bcfe5-6800-7000-8000-00000000000b',
      tier: pro,
      keyLimits: { requestsPerMinute: null, tokensPerMinute: null, concurrency: 2 },
      keyModels: ['small-*'],
      authVersion: { account: 7, key: 3 },
    },
  });
  t.same(world.lookups, [publicId]);
});

t.test('answers a known key at once, with the same immutable snapshot', async (t) => {
  const world = createWorld();
  const first = await world.authenticate(token);
  const second = world.authenticate(token);
  t.notOk(second instanceof Promise);
  t.equal(second, first);
  t.throws(() => Object.assign(first, { kind: 'x' }), TypeError);
  if (first.kind === 'valid') t.throws(() => Object.assign(first.principal.keyLimits, { concurrency: 9 }), TypeError);
  t.equal(world.lookups.length, 1);
});

t.test('turns away what is no key without a look-up', (t) => {
  const world = createWorld();
  t.match(world.authenticate(undefined), invalid('missing'));
  t.match(world.authenticate(''), invalid('missing'));
  t.match(world.authenticate('hunter2'), invalid('malformed'));
  t.match(world.authenticate('sk-proj-'.padEnd(68, 'x')), invalid('malformed'));
  t.match(world.authenticate(token.replace('secret', 'sEcret')), invalid('checksum'));
  t.equal(world.lookups.length, 0);
  t.end();
});

t.test('says invalid only when the store proved it', async (t) => {
  const cases: [Partial<KeyRow> | null, object][] = [
    [null, invalid('unknown')],
    [{ status: 'disabled' }, invalid('disabled')],
    [{ status: 'revoked' }, invalid('revoked')],
    [{ accountStatus: 'suspended' }, invalid('disabled')],
    [{ expiresAtMs: 1_700_000_000_000 }, invalid('expired')],
    [{ expiresAtMs: 1_700_000_000_001 }, valid],
    [{ secretHash: hashApiKey('another', token) }, invalid('unknown')],
    [{ secretHash: new Uint8Array(3) }, invalid('unknown')],
    [{ secretHash: hashApiKey('another', token), status: 'revoked' }, invalid('unknown')],
    [{ pepperId: '00000000' }, { kind: 'unknown', cause: { message: /TOLLGATE_SECRET/ } }],
    [{ tier: 'gone' }, { kind: 'unknown', cause: { message: /tier gone/ } }],
  ];
  for (const [changes, expected] of cases) {
    const world = createWorld();
    world.store.find = async () => (changes === null ? null : keyRow(changes));
    t.match(await world.authenticate(token), expected);
  }
});

t.test('cannot know when the store fails, and knows as soon as it answers', async (t) => {
  const world = createWorld();
  world.store.find = down;
  t.match(await world.authenticate(token), { kind: 'unknown', cause: { message: 'the store is down' } });
  t.match(await world.authenticate(token), { kind: 'unknown' });
  world.store.find = async () => keyRow();
  t.match(await world.authenticate(token), valid);
});

t.test('cannot know when the store throws before it promises anything', async (t) => {
  const world = createWorld({
    findKey: () => {
      throw new Error('no pool');
    },
  });
  t.match(await world.authenticate(token), { kind: 'unknown', cause: { message: 'no pool' } });
});

t.test('cannot know when the store does not answer in time', async (t) => {
  const world = createWorld({ lookupTimeoutMs: 5 });
  const late = Promise.withResolvers<KeyRow | null>();
  world.store.find = async () => late.promise;
  t.match(await world.authenticate(token), { kind: 'unknown', cause: { message: /within 5 ms/ } });
  late.resolve(keyRow({ status: 'revoked' }));
  world.store.find = async () => keyRow();
  t.match(await world.authenticate(token), valid, 'the late answer is not believed');
  t.match(world.authenticate(token), valid);
});

t.test('asks once when a hundred requests come with one key', async (t) => {
  const world = createWorld();
  const results = await Promise.all(Array.from({ length: 100 }, async () => world.authenticate(token)));
  t.ok(results.every((result) => result === results[0]));
  t.match(results[0], valid);
  t.equal(world.lookups.length, 1);
});

t.test('asks for a few keys at a time when many are unknown', async (t) => {
  const world = createWorld({ lookupConcurrency: 8, lookupWaitingLimit: 20 });
  const gate = Promise.withResolvers<null>();
  world.store.find = async () => gate.promise;
  const results = Array.from({ length: 40 }, async () => world.authenticate(generateApiKey().token));
  t.equal(world.lookups.length, 8);
  gate.resolve(null);
  const kinds = (await Promise.all(results)).map(({ kind }) => kind);
  t.equal(kinds.filter((kind) => kind === 'invalid').length, 28);
  t.equal(kinds.filter((kind) => kind === 'unknown').length, 12, 'beyond the line nobody can know');
  t.equal(world.lookups.length, 28);
});

t.test('never lets one key pass for another with the same public id', async (t) => {
  const world = createWorld();
  const impostor = createApiKey(publicId, 'guess'.padEnd(43, '0')).token;
  t.match(await world.authenticate(token), valid);
  t.match(await world.authenticate(impostor), invalid('unknown'));
  t.match(world.authenticate(token), valid);
  t.match(world.authenticate(impostor), invalid('unknown'));
});

t.test('asks again after a minute, and obeys the new answer', async (t) => {
  const world = createWorld();
  await world.authenticate(token);
  world.store.find = async () => keyRow({ status: 'revoked' });
  world.nowMs += 59_999;
  t.match(world.authenticate(token), valid);
  world.nowMs += 1;
  t.match(await world.authenticate(token), invalid('revoked'));
  world.store.find = down;
  world.nowMs += 5_001;
  t.match(
    await world.authenticate(token),
    { kind: 'unknown' },
    'a revoked key is not good again because the store is down',
  );
});

t.test('counts the minute from the question when the answer is slow', async (t) => {
  const world = createWorld();
  world.store.find = async () => {
    world.nowMs += 800;
    return keyRow();
  };
  await world.authenticate(token);
  world.nowMs += 59_199;
  t.notOk(world.authenticate(token) instanceof Promise);
  world.nowMs += 1;
  t.ok(world.authenticate(token) instanceof Promise);
});

t.test('remembers a bad key for five seconds, so that a new one works soon', async (t) => {
  const world = createWorld();
  world.store.find = async () => null;
  t.match(await world.authenticate(token), invalid('unknown'));
  world.store.find = async () => keyRow();
  world.nowMs += 4_999;
  t.match(world.authenticate(token), invalid('unknown'));
  t.equal(world.lookups.length, 1);
  world.nowMs += 1;
  t.match(await world.authenticate(token), valid);
});

t.test('lets a new key work at once when it was asked for before it was made', async (t) => {
  const world = createWorld();
  world.store.find = async () => null;
  t.match(await world.authenticate(token), invalid('unknown'));
  world.store.find = async () => keyRow();
  world.forget(publicId);
  t.match(await world.authenticate(token), valid);
});

t.test('serves a known key for ten minutes while the store is down, and no longer', async (t) => {
  const world = createWorld();
  await world.authenticate(token);
  world.store.find = down;
  world.nowMs += 60_000;
  t.match(await world.authenticate(token), valid);
  t.equal(world.lookups.length, 2);
  t.match(world.authenticate(token), valid, 'without asking again for five seconds');
  t.equal(world.lookups.length, 2);
  world.nowMs += 5_000;
  t.match(await world.authenticate(token), valid);
  t.equal(world.lookups.length, 3);
  world.nowMs += 534_999;
  t.match(await world.authenticate(token), valid);
  world.nowMs += 1;
  t.match(await world.authenticate(token), { kind: 'unknown' });
});

t.test('obeys the store again within five seconds of its return', async (t) => {
  const world = createWorld();
  await world.authenticate(token);
  world.store.find = down;
  world.nowMs += 60_000;
  await world.authenticate(token);
  world.store.find = async () => keyRow({ status: 'revoked' });
  world.nowMs += 5_000;
  t.match(await world.authenticate(token), invalid('revoked'));
});

t.test('asks for a known key first when a flood of others is in line', async (t) => {
  const world = createWorld({ lookupConcurrency: 1, lookupWaitingLimit: 3 });
  await world.authenticate(token);
  world.nowMs += 60_000;
  const gate = Promise.withResolvers<KeyRow | null>();
  world.store.find = async (id) => (id === publicId ? keyRow({ status: 'revoked' }) : gate.promise);
  const flood = Array.from({ length: 10 }, async () => world.authenticate(generateApiKey().token));
  const known = world.authenticate(token);
  gate.resolve(null);
  t.match(await known, invalid('revoked'), 'a full line does not keep a revoked key alive');
  await Promise.all(flood);
  t.equal(world.lookups[2], publicId, 'right after the one that was running');
});

t.test('ends a remembered key at the moment it expires', async (t) => {
  const world = createWorld();
  world.store.find = async () => keyRow({ expiresAtMs: world.nowMs + 1_000 });
  t.match(await world.authenticate(token), valid);
  world.nowMs += 999;
  t.match(world.authenticate(token), valid);
  world.nowMs += 1;
  t.match(world.authenticate(token), invalid('expired'));
  world.store.find = down;
  world.nowMs += 60_000;
  t.match(await world.authenticate(token), invalid('expired'), 'and does not come back while the store is down');
});

t.test('forgets what was known of a key, and leaves the others', async (t) => {
  const world = createWorld();
  const other = createApiKey('zzzzzzzzzzzz', '1'.repeat(43));
  world.store.find = async (id) =>
    id === publicId ? keyRow() : keyRow({ publicId: id, secretHash: hashApiKey(pepper, other.token) });
  await world.authenticate(token);
  await world.authenticate(other.token);
  world.forget(publicId);
  t.match(world.authenticate(other.token), valid);
  t.equal(world.lookups.length, 2);
  await world.authenticate(token);
  t.equal(world.lookups.length, 3);
});

t.test('does not remember an answer from before the key was forgotten', async (t) => {
  const world = createWorld();
  const before = Promise.withResolvers<KeyRow | null>();
  world.store.find = async () => before.promise;
  const early = world.authenticate(token);
  world.forget(publicId);
  world.store.find = async () => keyRow({ status: 'revoked' });
  const late = world.authenticate(token);
  t.match(await late, invalid('revoked'));
  before.resolve(keyRow());
  t.match(await early, valid, 'who asked before gets the answer from before');
  t.match(world.authenticate(token), invalid('revoked'));
});

t.test('keeps good keys when a flood of bad ones with good checksums comes by', async (t) => {
  const world = createWorld({ maxEntries: 10 });
  await world.authenticate(token);
  for (let index = 0; index < 50; index += 1) await world.authenticate(generateApiKey().token);
  const result: AuthResult | Promise<AuthResult> = world.authenticate(token);
  t.match(result, valid);
  t.equal(world.lookups.filter((id) => id === publicId).length, 1);
});

t.test('reads a key again when asked to, whatever is remembered, and remembers the new answer', async (t) => {
  const world = createWorld();
  t.match(await world.authenticate(token), valid);
  world.store.find = async () => keyRow({ keyVersion: 4 });
  t.match(await world.reload(token), { kind: 'valid', principal: { authVersion: { key: 4 } } });
  t.match(world.authenticate(token), { kind: 'valid', principal: { authVersion: { key: 4 } } });
  world.store.find = async () => keyRow({ status: 'revoked' });
  t.match(await world.reload(token), invalid('revoked'));
  t.match(world.authenticate(token), invalid('revoked'));
  t.equal(world.lookups.length, 3);
});

t.test(
  'asks twice when a hundred learn at once that a key changed, and no question is older than its asker',
  async (t) => {
    const world = createWorld();
    const answers: ((row: KeyRow) => void)[] = [];
    world.store.find = async () => new Promise((resolve) => answers.push(resolve));
    const first = world.reload(token);
    const others = Array.from({ length: 99 }, () => world.reload(token));
    answers[0]?.(keyRow({ keyVersion: 4 }));
    t.match(await first, { principal: { authVersion: { key: 4 } } });
    while (answers.length < 2) await new Promise(setImmediate);
    answers[1]?.(keyRow({ keyVersion: 5 }));
    for (const result of await Promise.all(others)) t.match(result, { principal: { authVersion: { key: 5 } } });
    t.equal(world.lookups.length, 2);
    world.store.find = async () => keyRow({ keyVersion: 6 });
    t.match(await world.reload(token), { principal: { authVersion: { key: 6 } } });
  },
);

t.test('cannot know when a key that is said to be old cannot be read again', async (t) => {
  const world = createWorld();
  await world.authenticate(token);
  world.store.find = down;
  t.match(await world.reload(token), { kind: 'unknown' });
  t.match(world.authenticate(token), valid, 'who asks without knowing better goes on');
});

t.test('turns away what is no key when it is to be read again', async (t) => {
  const world = createWorld();
  t.match(await world.reload('sk-tg-nonsense'), invalid('malformed'));
  t.equal(world.lookups.length, 0);
});

t.test('calls a remembered key fresh for a minute', async (t) => {
  const world = createWorld();
  t.notOk(world.isFresh(token));
  await world.authenticate(token);
  t.ok(world.isFresh(token));
  world.nowMs += 59_999;
  t.ok(world.isFresh(token));
  world.nowMs += 1;
  t.notOk(world.isFresh(token));
});
