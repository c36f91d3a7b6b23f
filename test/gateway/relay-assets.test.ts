import { EventEmitter } from 'node:events';
import t from 'tap';
import { endlessLease } from '../../src/admission/endless-lease.ts';
import type { Flow, Outcome } from '../../src/gateway/flow.ts';
import { createRelay, type RelayOptions } from '../../src/gateway/relay.ts';

t.test('a caller who leaves while their files are fetched is never asked for upstream, and pays nothing', async (t) => {
  const client = Object.assign(new EventEmitter(), { destroyed: false, writableFinished: false });
  const chat = {
    assets: () => ['https://img.example/a.png'],
    request: () => ({ body: { model: 'm' }, dropped: [] }),
    path: () => '/chat',
    usage: () => null,
  };
  const outcomes: Outcome[] = [];
  let sent = 0;
  const target = { providerId: 'p', upstreamModel: 'm', model: null };
  const relay = createRelay({
    providers: new Map([
      [
        'p',
        {
          adapter: { id: 'p', endpoints: { chat } },
          origin: 'https://p.example',
          basePath: '',
          allowPrivate: false,
          credentialsFor: () => ({ headersFor: () => ({}) }),
        },
      ],
    ]),
    upstream: {
      send: () => {
        sent += 1;
        return { pause() {}, resume() {}, abort() {} };
      },
    },
    assets: {
      async fetch() {
        client.destroyed = true;
        return new Map();
      },
    },
    timeouts: {},
    watchdog: { watch() {}, forget() {} },
    randomId: () => 'x',
    onDispatched() {},
    onProgress() {},
    onAttempt() {},
    settle: (_flow: Flow, outcome: Outcome) => void outcomes.push(outcome),
  } as unknown as RelayOptions);
  await relay({
    principal: { accountId: 'a', tier: {} },
    route: { publicModel: 'm', targets: [target] },
    request: { stream: false, includeUsage: false, body: {}, rawBody: Buffer.from('{}') },
    client,
    lease: endlessLease,
    takeOver() {},
    startedAtMs: 0,
    startedMonotonicMs: 0,
  } as unknown as Flow);
  t.equal(sent, 0);
  t.match(outcomes, [{ ending: 'client_abort', isDispatched: false }]);
  t.equal(client.listenerCount('close'), 0);
});
