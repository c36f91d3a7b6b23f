/** What every error of the `openai` package must tell its user. */
import { APIError } from 'openai';
import type { Test } from 'tap';

export type ExpectedError = {
  type: new (...args: never[]) => APIError;
  status: number;
  code: string | null;
  errorType: string;
  param?: string;
};

export function checkError(t: Test, error: unknown, expected: ExpectedError): void {
  const { type, status, code, errorType, param = null } = expected;
  t.type(error, type);
  t.match(error, { status, code, type: errorType, param, requestID: /^req_[0-9a-f]{32}$/ });
  if (!(error instanceof APIError)) return;
  t.strictSame(Object.keys(error.error as object).slice(0, 4), ['message', 'type', 'param', 'code']);
  t.equal(error.headers?.get('content-type'), 'application/json; charset=utf-8');
}
