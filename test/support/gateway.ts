/** The whole gateway in this process, on a port of its own, with a database of its own and keys as a test wants them. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type App, createApp, known } from '../../src/app.ts';
import { derivePepper, displayParts, generateApiKey, hashApiKey } from '../../src/auth/api-key.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { MoneyLimits } from '../../src/contract/budgets.ts';
import { createLogger } from '../../src/platform/logger.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { insertKey } from '../../src/store/api-keys.ts';
import { createPgliteDatabase, createTestDatabase, silentLog, type TestDatabase } from './database.ts';

export type TestGateway = {
  url: string;
  app: App;
  database: TestDatabase;
  /** A key of a fresh account; the token is ready for a bearer header. */
  createKey(
    tier?: string,
    more?: { limits?: Partial<MoneyLimits>; models?: readonly string[]; strict?: boolean },
  ): Promise<TestKey>;
  /** Rows of the ledger, once as many as expected are there. */
  rows(count: number): Promise<Record<string, unknown>[]>;
  /** The one row of a reply, by its `x-request-id`; undefined when none comes. */
  row(requestId: string | null | undefined): Promise<Record<string, unknown> | undefined>;
  /** The log so far, a parsed object per line. */
  logLines(): Record<string, unknown>[];
};

export type TestKey = { token: string; accountId: string; keyId: string };

export type RedisSettings = { url: string; keyPrefix: string };

export type GatewayOptions = {
  /** gateway.yaml; the tiers of `defaultYaml` stand in when it has none. */
  yaml?: string;
  environment?: Record<string, string>;
  sweepMs?: number;
  heartbeatMs?: number;
  /** True: a database in memory, as in the embedded mode. */
  embedded?: boolean;
  /** The store of another gateway of the test, for two that share it. */
  database?: TestDatabase;
  /** Limits in Redis, under names of the test's own; two gateways with the same prefix share them. */
  redis?: RedisSettings;
};

export const secret = 'a-secret-for-tests-of-32-characters';

const tiers = `
tiers:
  free:       { price: 0,      rpm: 10,    tpm: 20k,  concurrency: 2,  history: 7d,  models: "*" }
  plus:       { price: 99,     rpm: 5000,  tpm: 100m, concurrency: 500, history: 90d, models: "*" }
`;

export async function startGateway(t: Test, options: GatewayOptions = {}): Promise<TestGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  const yaml = options.yaml ?? '';
  writeFileSync(join(folder, 'gateway.yaml'), yaml.includes('tiers:') ? yaml : `${yaml}\n${tiers}`);
  const config = loadConfig({
    ...known,
    environment: {
      TOLLGATE_DATA: folder,
      TOLLGATE_SECRET: secret,
      LOG_LEVEL: 'info',
      ...(options.redis === undefined ? {} : { REDIS_URL: options.redis.url }),
      ...options.environment,
    },
    flags: { config: join(folder, 'gateway.yaml') },
    workingDirectory: folder,
  });
  const database =
    options.database ?? (await (options.embedded === true ? createPgliteDatabase : createTestDatabase)(t));
  const logFile = join(folder, 'log.jsonl');
  const { log, flush } = createLogger({ level: 'info', destination: logFile });
  const { pepper, pepperId } = derivePepper(secret);
  const prefix = options.redis === undefined ? {} : { redisKeyPrefix: options.redis.keyPrefix };
  const beat = options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs };
  const app = await createApp({
    config,
    database,
    pepper,
    secret,
    log,
    sweepMs: options.sweepMs ?? 20,
    ...beat,
    ...prefix,
  });
  if (options.redis !== undefined) await untilReady(app);
  await app.server.listen({ host: '127.0.0.1', port: 0 });
  const address = app.server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  t.teardown(async () => {
    app.server.server.closeAllConnections();
    await app.close({ delayMs: 0, deadlineMs: 0 });
    rmSync(folder, { recursive: true, force: true });
  });

  return {
    url: `http://127.0.0.1:${port}`,
    app,
    database,
    async createKey(tier = 'plus', more = {}) {
      const accountId = randomUUID();
      const keyId = randomUUID();
      const { token, publicId } = generateApiKey();
      await database.db
        .insertInto('accounts')
        .values({ id: accountId, name: 'test', tier, auth_version: 1, status: 'active', created_at: new Date() })
        .execute();
      await insertKey(database.db, {
        id: keyId,
        publicId,
        accountId,
        createdBy: null,
        name: 'test',
        secretHash: hashApiKey(pepper, token),
        pepperId,
        ...displayParts(token),
        limits: { requestsPerMinute: null, tokensPerMinute: null, concurrency: null, ...more.limits },
        allowedModels: more.models ?? null,
        scopes: [],
        strict: more.strict ?? false,
        expiresAtMs: null,
        createdAtMs: Date.now(),
      });
      return { token, accountId, keyId };
    },
    async rows(count) {
      const deadline = performance.now() + 10_000;
      for (;;) {
        const rows = await database.db.selectFrom('usage_events').selectAll().orderBy('started_at').execute();
        if (rows.length >= count || performance.now() > deadline) return rows;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async row(requestId) {
      const id = (requestId ?? '').replace('req_', '').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
      const query = database.db.selectFrom('usage_events').selectAll().where('request_id', '=', id);
      const deadline = performance.now() + 10_000;
      for (;;) {
        const row = await query.executeTakeFirst();
        if (row !== undefined || performance.now() > deadline) return row;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    logLines() {
      flush();
      return readFileSync(logFile, 'utf8')
        .split('\n')
        .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Record<string, unknown>]));
    },
  };
}

/** A name for everything that a test keeps in Redis, and the end of all of it. */
export function redisOf(t: Test, url = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379'): RedisSettings {
  const keyPrefix = `tg-test-${randomUUID()}:`;
  t.teardown(async () => {
    const redis = openRedis(process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379', silentLog, {
      commandTimeoutMs: 10_000,
    });
    await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
    const names = await redis.keys(`${keyPrefix}*`);
    if (names.length > 0) await redis.del(...names);
    redis.disconnect();
  });
  return { url, keyPrefix };
}

async function untilReady(app: App): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (performance.now() < deadline) {
    const { statusCode } = await app.server.inject('/readyz');
    if (statusCode === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** `POST /v1/chat/completions` with a bearer key. */
export function post(
  gateway: TestGateway,
  token: string,
  body: unknown,
  init: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Response> {
  return fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...init,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...init.headers },
  });
}
