/**
 * The bytes that go upstream. Nothing to change: the caller's own buffer. A small edit: spliced in, so that the rest
 * stays as it was written. Where a splice cannot be proven right, the parsed body is written again: what was authorised
 * is what is sent. Spec: performance 3.1, the one-occurrence rule.
 */
import type { JsonObject } from '../contract/json.ts';
import type { RequestEdit, RequestRewrite } from '../contract/provider.ts';
import type { ChatRequest } from './chat-request.ts';

export function upstreamBody(request: ChatRequest, adapted: RequestEdit | RequestRewrite): Buffer {
  return 'body' in adapted ? Buffer.from(JSON.stringify(adapted.body)) : editBody(request, adapted);
}

export function editBody(request: ChatRequest, edit: RequestEdit): Buffer {
  const names = Object.keys(edit.set);
  if (names.length === 0 && edit.remove.length === 0) {
    // With two candidates for `model` in the bytes the provider might read the other one.
    return request.canSplice ? request.rawBody : writeAgain(request.body, edit);
  }
  const isSplice =
    request.canSplice &&
    edit.remove.length === 0 &&
    names.every((name) => name === 'model' || request.body[name] === undefined);
  return (isSplice ? splice(request.rawBody, edit) : null) ?? writeAgain(request.body, edit);
}

function splice(rawBody: Buffer, edit: RequestEdit): Buffer | null {
  const open = rawBody.indexOf('{') + 1;
  const additions = Object.entries(edit.set).filter(([name]) => name !== 'model');
  const added = additions.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)},`).join('');
  const model = edit.set['model'];
  if (model === undefined) {
    return Buffer.concat([rawBody.subarray(0, open), Buffer.from(added), rawBody.subarray(open)]);
  }
  const value = findModelValue(rawBody);
  if (value === null) return null;
  return Buffer.concat([
    rawBody.subarray(0, open),
    Buffer.from(added),
    rawBody.subarray(open, value.start),
    Buffer.from(JSON.stringify(model)),
    rawBody.subarray(value.end),
  ]);
}

/** Where the string behind the only `"model"` lies; null when it holds escapes, which are not worth a parser. */
function findModelValue(rawBody: Buffer): { start: number; end: number } | null {
  let start = rawBody.indexOf('"model"') + 7;
  while (isBlank(rawBody[start]) || rawBody[start] === colon) start += 1;
  if (rawBody[start] !== quote) return null;
  const end = rawBody.indexOf(quote, start + 1) + 1;
  const text = rawBody.subarray(start, end);
  return text.includes(backslash) ? null : { start, end };
}

const colon = 0x3a;
const quote = 0x22;
const backslash = 0x5c;

const isBlank = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;

function writeAgain(body: JsonObject, edit: RequestEdit): Buffer {
  const removed = new Set(edit.remove);
  const kept = Object.entries(body).filter(([name]) => !removed.has(name));
  return Buffer.from(JSON.stringify({ ...Object.fromEntries(kept), ...edit.set }));
}
