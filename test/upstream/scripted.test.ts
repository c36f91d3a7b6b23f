import t from 'tap';
import type { ScriptedReply } from '../../src/contract/provider.ts';
import { playScript } from '../../src/upstream/scripted.ts';
import { recordUpstream } from '../support/upstream-recording.ts';

type Chunks = ScriptedReply['chunks'];
const reply = (chunks: Chunks, changes: Partial<ScriptedReply> = {}): ScriptedReply => ({
  status: 200,
  headers: { 'content-type': 'text/event-stream' },
  chunks,
  breaks: false,
  ...changes,
});
const now = (...texts: string[]): Chunks => texts.map((data) => ({ afterMs: 0, data }));
const soon = (...texts: string[]): Chunks => texts.map((data) => ({ afterMs: 1, data }));

/** Long enough for a call that breaks its word to show. */
const aWhile = () => new Promise((resolve) => setTimeout(resolve, 15));

t.test('plays status, headers, chunks and end, after the call has returned', async (t) => {
  for (const chunks of [now('a', 'é'), soon('a', 'é'), [...now('a'), ...soon('é')]]) {
    const recording = recordUpstream();
    playScript(reply(chunks, { status: 206 }), recording);
    t.same(recording.events, [], 'nobody is called before they hold the call');
    await recording.over;
    t.same(recording.events, ['dispatched', 'headers', 'data', 'end']);
    t.equal(recording.status, 206);
    t.same(recording.headers, { 'content-type': 'text/event-stream' });
    t.equal(recording.text(), 'aé');
  }
});

t.test('breaks off where the script says so', async (t) => {
  const recording = recordUpstream();
  playScript(reply(soon('a'), { breaks: true }), recording);
  await recording.over;
  t.same(recording.events, ['dispatched', 'headers', 'data', 'reset']);
  const empty = recordUpstream();
  playScript(reply([], { breaks: true }), empty);
  await empty.over;
  t.same(empty.events, ['dispatched', 'headers', 'reset']);
});

t.test('gives nothing while it is paused, and everything afterwards', async (t) => {
  for (const make of [now, soon]) {
    const recording = recordUpstream({
      onData() {
        call.pause();
      },
    });
    const call = playScript(reply(make('a', 'b', 'c')), recording);
    for (const expected of ['a', 'ab', 'abc']) {
      while (recording.text() !== expected) await new Promise((resolve) => setImmediate(resolve));
      await aWhile();
      t.equal(recording.text(), expected);
      t.notOk(recording.events.includes('end'));
      call.resume();
    }
    await recording.over;
    t.same(recording.events, ['dispatched', 'headers', 'data', 'end']);
  }
});

t.test('a pause at the headers holds the first chunk back', async (t) => {
  const recording = recordUpstream({ onHeaders: () => call.pause() });
  const call = playScript(reply(now('a')), recording);
  await recording.answered;
  await aWhile();
  t.same(recording.events, ['dispatched', 'headers']);
  call.resume();
  call.resume();
  await recording.over;
  t.equal(recording.text(), 'a');
});

t.test('a pause that is over before its time does no harm', async (t) => {
  const recording = recordUpstream({
    onData() {
      call.pause();
      call.resume();
    },
  });
  const call = playScript(reply([...now('a', 'b'), ...soon('c', 'd')]), recording);
  await recording.over;
  t.equal(recording.text(), 'abcd');
});

t.test('ends at once and once when it is aborted, in every phase', async (t) => {
  const phases: Record<string, (abort: () => void, pause: () => void) => Parameters<typeof recordUpstream>[0]> = {
    'at the dispatch': (abort) => ({ onDispatched: abort }),
    'at the headers': (abort) => ({ onHeaders: abort }),
    'at a chunk': (abort) => ({ onData: abort }),
    'while it is paused': (abort, pause) => ({
      onData() {
        pause();
        setImmediate(abort);
      },
    }),
    'while it waits': (abort) => ({ onHeaders: () => setImmediate(abort) }),
  };
  for (const [phase, hooks] of Object.entries(phases)) {
    for (const afterMs of [0, 5]) {
      // Without a delay there is nothing to wait for.
      if (phase === 'while it waits' && afterMs === 0) continue;
      const chunks = [{ afterMs, data: 'a' }, ...soon('b')];
      const recording = recordUpstream(
        hooks(
          () => call.abort(),
          () => call.pause(),
        ),
      );
      const call = playScript(reply(chunks), recording);
      await recording.over;
      const { length } = recording.events;
      t.equal(recording.events.at(-1), 'aborted', phase);
      call.abort();
      call.resume();
      await aWhile();
      t.equal(recording.events.length, length, `nothing comes after it ${phase}`);
      t.notOk(recording.text().includes('b'), phase);
    }
  }
});

t.test('an abort before it began leaves it unbegun', async (t) => {
  const recording = recordUpstream();
  const call = playScript(reply(now('a')), recording);
  call.abort();
  call.abort();
  t.same(recording.events, [], 'the caller still holds the stack');
  await recording.over;
  await aWhile();
  t.same(recording.events, ['aborted']);
});

t.test('an abort after the end changes nothing', async (t) => {
  const recording = recordUpstream();
  const call = playScript(reply(now('a')), recording);
  await recording.over;
  call.abort();
  await aWhile();
  t.same(recording.events, ['dispatched', 'headers', 'data', 'end']);
});

t.test('lets a script clean up when nobody wants the rest', async (t) => {
  let isCleanedUp = false;
  function* chunks() {
    try {
      for (;;) yield { afterMs: 1, data: 'a' };
    } finally {
      isCleanedUp = true;
    }
  }
  const recording = recordUpstream({ onData: () => call.abort() });
  const call = playScript(reply(chunks()), recording);
  await recording.over;
  t.ok(isCleanedUp);
});
