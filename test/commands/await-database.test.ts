import t from 'tap';
import { awaitDatabase } from '../../src/commands/await-database.ts';
import { openFaultProxy } from '../faults/fault-proxy.ts';
import { serverUrl, silentLog } from '../support/database.ts';

t.test('waits for a server that is not there yet, and says so once', async (t) => {
  const proxy = await openFaultProxy(t, serverUrl, 5432);
  proxy.setMode('refuse');
  const lines: string[] = [];
  const say = (_details: object, message: string): void => void lines.push(message);
  const awaited = awaitDatabase(proxy.url, { info: say, warn: say }, new AbortController().signal);
  while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  proxy.setMode('pass');
  t.equal(await awaited, true);
  const told = lines.filter((line) => line.startsWith('the database'));
  t.same(told, ['the database does not answer yet: the start waits for it', 'the database answers']);
});

t.test('ends when it is told to stop waiting', async (t) => {
  const proxy = await openFaultProxy(t, serverUrl, 5432);
  proxy.setMode('refuse');
  const stopping = new AbortController();
  const abort = (): void => stopping.abort();
  t.equal(await awaitDatabase(proxy.url, { info: abort, warn: abort }, stopping.signal), false);
});

t.test('is an error at once when the server has no such database', async (t) => {
  const url = new URL(serverUrl);
  url.pathname = '/tollgate_no_such_database';
  await t.rejects(awaitDatabase(url.href, silentLog, new AbortController().signal), { code: '3D000' });
});
