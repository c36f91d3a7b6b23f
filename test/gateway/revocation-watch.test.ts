import t from 'tap';
import { gatewayError, type GatewayError } from '../../src/contract/errors.ts';
import type { Principal } from '../../src/contract/flow.ts';
import { createRevocationWatch, type Revocable } from '../../src/gateway/revocation-watch.ts';

const none = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };

const principal = (keyId: string, { hardRevoke = true, key = 1 } = {}): Principal => ({
  accountId: 'a1',
  keyId,
  tier: { id: 'pro', priceUsd: '0', limits: none, historyDays: null, models: '*', hardRevoke },
  keyLimits: none,
  keyModels: '*',
  authVersion: { account: 1, key },
});

type Running = Revocable & { cutBy: GatewayError[] };

function request(of: Principal): Running {
  const cutBy: GatewayError[] = [];
  return { flow: { principal: of, reload: async () => of }, cutBy, revoke: (error) => cutBy.push(error) };
}

/** Answers each check with what the test says of the key, and records who was checked. */
function createWorld(running: readonly Running[], answers: Record<string, Principal | Error>) {
  const checked: string[] = [];
  const watch = createRevocationWatch({
    running: () => running,
    gate: {
      async verify({ principal: { keyId, authVersion } }) {
        checked.push(`${keyId} ${authVersion.key}`);
        const answer = answers[keyId];
        if (answer === undefined || answer instanceof Error) throw answer ?? new Error('not expected');
        return answer;
      },
    },
  });
  t.teardown(() => watch.close());
  return { watch, checked };
}

t.test('checks each caller once, however much runs for it, and nobody of other tiers', async (t) => {
  const [one, two] = [principal('k1'), principal('k2')];
  const running = [request(one), request(two), request(one), request(principal('k3', { hardRevoke: false }))];
  const { watch, checked } = createWorld(running, { k1: one, k2: two });
  await watch.beat();
  t.same(checked, ['k1 1', 'k2 1']);
  t.ok(running.every(({ cutBy }) => cutBy.length === 0));
});

t.test('cuts all that runs for a key that is proven bad, and nothing else', async (t) => {
  const refusal = gatewayError('invalidApiKey', { message: 'revoked' });
  const [one, two] = [principal('k1'), principal('k2')];
  const running = [request(one), request(two), request(one)];
  await createWorld(running, { k1: refusal, k2: two }).watch.beat();
  t.same(
    running.map(({ cutBy }) => cutBy),
    [[refusal], [], [refusal]],
  );
});

t.test('cuts nobody because a store is away', async (t) => {
  const running = [request(principal('k1')), request(principal('k2'))];
  const away = gatewayError('authUnavailable', { message: 'away' });
  await createWorld(running, { k1: away, k2: new Error('no such thing') }).watch.beat();
  t.ok(running.every(({ cutBy }) => cutBy.length === 0));
});

t.test('goes on with what a second look has found, so that a change is read once', async (t) => {
  const { watch, checked } = createWorld([request(principal('k1'))], { k1: principal('k1', { key: 2 }) });
  await watch.beat();
  await watch.beat();
  t.same(checked, ['k1 1', 'k1 2']);
});
