import t from 'tap';
import { createReplyReader } from '../../bench/stream-reader.ts';

const event = 'data: {"n":1}\n\n';
const chunk = (data: string): string => `${Buffer.byteLength(data).toString(16)}\r\n${data}\r\n`;
const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

function readAll(
  text: string,
  pieceBytes: number,
): { events: number; isComplete: boolean; body: string; status: number } {
  const reader = createReplyReader({ keepsBody: true });
  const bytes = Buffer.from(text);
  let events = 0;
  let isComplete = false;
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const reading = reader.push(bytes.subarray(at, at + pieceBytes));
    events += reading.events;
    isComplete = reading.isComplete;
  }
  return { events, isComplete, body: reader.body().toString(), status: reader.status() };
}

t.test('counts the same events and keeps the same bytes when a reply comes whole or in pieces of any size', (t) => {
  const reply = `${head}${chunk(event)}${chunk(event + event)}${chunk('data: [DONE]\n\n')}0\r\n\r\n`;
  for (const pieceBytes of [1, 2, 3, 7, 64, 10_000]) {
    const { body, ...rest } = readAll(reply, pieceBytes);
    t.same(rest, { events: 4, isComplete: true, status: 200 }, `pieces of ${pieceBytes}`);
    t.equal(body, `${event}${event}${event}data: [DONE]\n\n`);
  }
  t.end();
});

t.test('counts an event once when a chunk ends between its two line feeds', (t) => {
  const reply = `${head}${chunk('data: 1\n')}${chunk('\ndata: 2\n\n')}0\r\n\r\n`;
  t.equal(readAll(reply, 10_000).events, 2);
  t.equal(readAll(reply, 1).events, 2);
  t.end();
});

t.test('is complete when a length-framed reply has come, and reads the next one after a reset', (t) => {
  const reader = createReplyReader({ keepsBody: false });
  const reply = Buffer.from('HTTP/1.1 429 Too Many Requests\r\ncontent-length: 5\r\n\r\nsorry');
  t.same(reader.push(reply.subarray(0, 50)), { events: 0, isComplete: false });
  t.same(reader.push(reply.subarray(50)), { events: 0, isComplete: true });
  t.equal(reader.status(), 429);
  reader.reset();
  t.same(reader.push(Buffer.from('HTTP/1.1 204 No Content\r\n\r\n')), { events: 0, isComplete: true });
  t.equal(reader.status(), 204);
  t.end();
});

t.test('is not complete when the stream stops before its last chunk', (t) => {
  t.equal(readAll(`${head}${chunk(event)}`, 10_000).isComplete, false);
  t.equal(readAll(`${head}${chunk(event)}0\r\n`, 10_000).isComplete, false);
  t.end();
});
