import t from 'tap';
import { gatewayError } from '../../src/contract/errors.ts';
import {
  beginsLikeEvents,
  errorFrame,
  failureError,
  isEventStream,
  keepAliveComment,
} from '../../src/gateway/stream-wire.ts';
import { SseReader } from '../../src/upstream/sse.ts';
import { parseObject } from '../support/json-at.ts';

t.test('an error on a stream is one event that the SDKs raise', (t) => {
  const error = gatewayError('upstreamTruncated', { message: 'line one\n\ndata: line two', extra: { more: 1 } });
  const events = new SseReader().push(Buffer.from(errorFrame(error)));
  t.equal(events.length, 1, 'a message cannot break out of its event');
  t.equal(events[0]?.event, '');
  t.same(parseObject(events[0]?.data ?? ''), error.toBody());
  t.notMatch(errorFrame(error), '[DONE]');
  t.end();
});

t.test('a keep-alive is a comment that no reader takes for an event', (t) => {
  const reader = new SseReader();
  t.same(reader.push(Buffer.from(keepAliveComment)), []);
  t.same(reader.push(Buffer.from(`data: x\n\n${keepAliveComment}`)), [{ event: '', data: 'x' }]);
  t.end();
});

t.test('knows a stream by its content type', (t) => {
  for (const type of ['text/event-stream', 'Text/Event-Stream; charset=utf-8', 'application/vnd.amazon.eventstream']) {
    t.ok(isEventStream({ 'content-type': type }), type);
  }
  for (const type of ['application/json', 'text/plain; x=text/event-stream', '']) {
    t.notOk(isEventStream({ 'content-type': type }), type);
  }
  t.notOk(isEventStream({}));
  t.end();
});

t.test('knows a stream that lost its content type by its first bytes', (t) => {
  for (const text of [
    'data: {}',
    'data:{}',
    'event: x\n',
    ': hi',
    'id: 1',
    'retry: 1',
    '\n\ndata: x',
    '\uFEFFdata: x',
  ]) {
    t.ok(beginsLikeEvents(Buffer.from(text)), JSON.stringify(text));
  }
  for (const text of ['{"data:":1}', '[]', '', 'database', '<html>', '  {"id":1}', 'error: no']) {
    t.notOk(beginsLikeEvents(Buffer.from(text)), JSON.stringify(text));
  }
  t.end();
});

t.test('a connection that failed becomes an error that says nothing of our insides', (t) => {
  const cause = new Error('connect ECONNREFUSED 10.1.2.3:443');
  for (const [kind, code, status] of [
    ['connect_timeout', 'timeout', 504],
    ['unreachable', 'upstream_error', 502],
    ['private_address', 'upstream_error', 502],
    ['reset', 'upstream_error', 502],
    ['aborted', 'upstream_error', 502],
  ] as const) {
    const error = failureError({ kind, cause });
    t.match({ code: error.code, status: error.status, cause: error.cause }, { code, status, cause }, kind);
    t.notMatch(JSON.stringify(error.toBody()), '10.1.2.3');
  }
  t.end();
});
