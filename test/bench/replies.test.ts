import t from 'tap';
import { chatRequest, eventsPerStream, streamRequest, unaryReply } from '../../bench/mock/replies.ts';
import { judgeReply } from '../../bench/verify.ts';

t.test('a chat request has exactly the size that was asked for when it is short or long', (t) => {
  for (const bytes of [200, 4_000, 32_000, 300_000]) {
    const text = chatRequest(bytes);
    t.equal(Buffer.byteLength(text), bytes);
    const { messages } = JSON.parse(text) as { messages: { role: string; content: string }[] };
    t.ok(messages.length >= 2 && messages.every(({ content }) => content !== ''));
  }
  t.end();
});

t.test('the reply of the mock is about 1 KB and harmless to a configuration when nginx reads it', (t) => {
  t.ok(unaryReply.length > 900 && unaryReply.length < 1200, `${unaryReply.length} bytes`);
  t.notMatch(unaryReply, /['$\\]/);
  t.match(JSON.parse(unaryReply), { usage: { total_tokens: 149 } });
  t.end();
});

t.test('a stream request carries its orders in the message when the mock looks for them', (t) => {
  t.match(streamRequest({ gapMs: 20, deltas: 64 }), '"content":"mock gap=20 deltas=64"');
  t.equal(eventsPerStream({ gapMs: 20, deltas: 64 }), 68);
  t.end();
});

t.test('a reply is judged by its bytes, then by its content, and refused when neither fits', (t) => {
  t.same(judgeReply(200, unaryReply), { fidelity: 'bytes' });
  t.same(judgeReply(200, JSON.stringify({ provider: 'x', ...(JSON.parse(unaryReply) as object) })), {
    fidelity: 'content',
  });
  t.match(judgeReply(200, '{"id":"other"}'), { problem: /other content/ });
  t.match(judgeReply(200, 'not json'), { problem: /other content/ });
  t.match(judgeReply(429, '{"error":{}}'), { problem: /status 429/ });
  t.end();
});
