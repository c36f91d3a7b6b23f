/** What every refusal owes its reader, whatever was wrong. */
import type { Test } from 'tap';
import { parseObject } from '../support/json-at.ts';
import type { RawReply } from './raw-connection.ts';

export type Refusal = { status: number; code: string | null; param?: string | RegExp | null; message?: RegExp };

export function checkRefusal(t: Test, reply: RawReply | null, expected: Refusal): void {
  t.ok(reply !== null, 'there is a reply');
  if (reply === null) return;
  t.equal(reply.status, expected.status);
  t.equal(reply.headers['content-type'], 'application/json; charset=utf-8');
  t.match(reply.headers['x-request-id'], /^req_[0-9a-f]{32}$/);
  const { error, ...others } = parseObject(reply.body) as { error: Record<string, unknown> };
  t.strictSame(Object.keys(others), []);
  t.strictSame(Object.keys(error), ['message', 'type', 'param', 'code']);
  t.match(error['type'], expected.status < 500 ? 'invalid_request_error' : 'server_error');
  t.equal(error['code'], expected.code);
  const param = expected.param ?? null;
  if (param instanceof RegExp) t.match(error['param'], param);
  else t.equal(error['param'], param);
  t.match(error['message'], expected.message ?? /^\S.{10,}[.?]$/);
}

export async function rawReply(response: Response): Promise<RawReply> {
  return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
}
