import t from 'tap';
import { parseRedisUrl } from '../../src/config/redis-url.ts';
import { createSandbox } from './sandbox.ts';

const addressOf = (text: string): unknown => {
  const parsed = parseRedisUrl(text);
  return parsed.ok ? parsed.value : parsed.message;
};

t.test('leaves the address of one server as it is', (t) => {
  for (const url of ['redis://h', 'rediss://u:p@h:1/3', 'redis://[::1]:6379/0?family=6']) {
    t.same(addressOf(url), { topology: 'standalone', url });
  }
  t.end();
});

t.test('reads the nodes of a Sentinel set and of a Cluster', (t) => {
  t.same(addressOf('redis+sentinel://a:1,b,[::1]:3/main/2'), {
    topology: 'sentinel',
    nodes: [
      { host: 'a', port: 1 },
      { host: 'b', port: 26_379 },
      { host: '::1', port: 3 },
    ],
    username: null,
    password: null,
    isTls: false,
    masterName: 'main',
    database: 2,
  });
  t.same(addressOf('rediss+cluster://me:p%40ss:word@a,b:7001'), {
    topology: 'cluster',
    nodes: [
      { host: 'a', port: 6379 },
      { host: 'b', port: 7001 },
    ],
    username: 'me',
    password: 'p@ss:word',
    isTls: true,
  });
  t.match(addressOf('redis+cluster://:only@a/0'), { username: null, password: 'only' });
  t.end();
});

t.test('says what is wrong with an address, and never repeats it', (t) => {
  const canary = 'canary';
  const wrong: [string, RegExp][] = [
    [`http://${canary}`, /starts with redis:/],
    [`redis+ring://${canary}`, /starts with redis:/],
    [`redis+cluster://${canary} b`, /starts with redis:/],
    [`redis://${canary},b`, /several hosts need/],
    [`redis://${canary}:99999`, /expected a redis:/],
    [`redis+sentinel://${canary}`, /needs the name of the master/],
    [`redis+sentinel://${canary}/m/x`, /number of a database/],
    [`redis+sentinel://${canary}/m/0/1`, /number of a database/],
    [`redis+cluster://${canary}/1`, /no databases/],
    [`redis+cluster://${canary}?tls=1`, /takes no query/],
    [`redis+cluster://${canary},,b`, /host:port/],
    [`redis+cluster://${canary}:port`, /host:port/],
  ];
  for (const [url, message] of wrong) {
    t.match(addressOf(url), message, url);
    t.notMatch(addressOf(url), /canary/);
  }
  t.end();
});

t.test('takes the layout from the file and the environment, and reports a mistake at its place', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    'redis_url: redis+cluster://a\nredis: { shards: 6, stream_entries: 2m, stream_size: 300MiB }\n',
  );
  t.match(sandbox.load().redis, { shards: 6, streamEntries: 2_000_000, streamBytes: 300 * 1024 * 1024 });
  t.match(sandbox.load({ REDIS_SHARDS: '12', REDIS_SENTINEL_PASSWORD: 'p' }).redis, { shards: 12 });
  t.equal(sandbox.load({ REDIS_SENTINEL_PASSWORD: 'p' }).redis.sentinelPassword?.reveal(), 'p');
  sandbox.write('config/gateway.yaml', 'redis_url: redis://a,b\nredis:\n  shards: 0\n  sentinels: 3\n');
  t.match(sandbox.problems({ REDIS_SHARDS: '1' }).join('\n'), /gateway.yaml:1:12 {2}redis_url: several hosts need/);
  const problems = sandbox.problems().join('\n');
  t.match(problems, /gateway.yaml:3:11 {2}redis.shards: expected a number of shards between 1 and 256/);
  t.match(problems, /gateway.yaml:4:3 {2}redis.sentinels: unknown/);
  t.end();
});

t.test('warns of a Cluster of which only one master would be used', (t) => {
  const sandbox = createSandbox(t);
  const warnings = (environment: Record<string, string>) => sandbox.load(environment).warnings.join('\n');
  t.match(warnings({ REDIS_URL: 'redis+cluster://a' }), /redis.shards: a Cluster with one shard uses one/);
  t.notMatch(warnings({ REDIS_URL: 'redis+cluster://a', REDIS_SHARDS: '6' }), /shards/);
  t.notMatch(warnings({ REDIS_URL: 'redis://a' }), /shards/);
  t.end();
});
