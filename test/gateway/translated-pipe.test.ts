import t from 'tap';
import { gatewayError, type GatewayError } from '../../src/contract/errors.ts';
import type { SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { tokensOfCharacters } from '../../src/usage/estimate.ts';
import { SseReader } from '../../src/upstream/sse.ts';
import { TranslatedPipe } from '../../src/gateway/translated-pipe.ts';
import { feedings } from '../support/byte-feedings.ts';

const usage = { promptTokens: 3, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 2, reasoningTokens: 0 };

/** A dialect of four words: `say x`, `finish`, `stop` and `break`; everything else says nothing. */
class WordTranslator implements StreamTranslator {
  readonly pushed: SseEvent[] = [];
  ends = 0;
  failure: GatewayError | null = null;
  isComplete = false;
  isEnded = false;
  outputCharacters = 0;

  push(event: SseEvent): readonly SseEvent[] {
    this.pushed.push(event);
    const [word, text = ''] = event.data.split(' ');
    if (word === 'finish') this.isComplete = true;
    if (word === 'stop') this.isComplete = this.isEnded = true;
    if (word === 'break') this.failure = gatewayError('upstreamServerError', { message: 'the provider failed' });
    if (word !== 'say') return [];
    this.outputCharacters += text.length;
    return Array.from(text, (letter) => ({ event: '', data: letter }));
  }

  end(): readonly SseEvent[] {
    this.ends += 1;
    return this.failure !== null || !this.isComplete ? [] : [{ event: '', data: '[DONE]' }];
  }

  usage() {
    return this.isComplete ? usage : null;
  }
}

function open(): { pipe: TranslatedPipe; translator: WordTranslator } {
  const translator = new WordTranslator();
  return { translator, pipe: new TranslatedPipe({ translator, reader: new SseReader() }) };
}

function relay(chunks: readonly Buffer[]): { text: string; pipe: TranslatedPipe; translator: WordTranslator } {
  const { pipe, translator } = open();
  const out = chunks.map((chunk) => pipe.push(chunk) ?? '').join('');
  return { text: out + (pipe.end() ?? ''), pipe, translator };
}

const events = (...words: string[]): string => words.map((word) => `data: ${word}\n\n`).join('');

t.test('translates event by event, however the bytes are split', (t) => {
  const source = `: hello\n\n${events('say aé', 'nothing', 'say 😀', 'finish')}`;
  for (const { name, chunks } of feedings(Buffer.from(source))) {
    const { text, pipe } = relay(chunks);
    t.equal(text, events('a', 'é', '😀', '[DONE]'), name);
    t.ok(pipe.isComplete && !pipe.isEnded && pipe.failure === null);
    t.same(pipe.usage(), usage);
    t.equal(pipe.estimateOutputTokens(), tokensOfCharacters(4));
  }
  t.end();
});

t.test('gives nothing for what the caller does not need to see', (t) => {
  const { pipe } = open();
  t.equal(pipe.push(Buffer.from('data: say')), null, 'half an event');
  t.equal(pipe.push(Buffer.from(' a\n\n')), events('a'));
  t.equal(pipe.push(Buffer.from(events('nothing'))), null);
  t.equal(pipe.end(), null, 'no tail without a finish');
  t.notOk(pipe.isComplete);
  t.equal(pipe.usage(), null);
  t.end();
});

t.test('gives the end as soon as the upstream has said it, once, and ignores what follows', (t) => {
  for (const { name, chunks } of feedings(Buffer.from(events('say a', 'stop', 'say b', 'break')))) {
    const { pipe, translator } = open();
    const text = chunks.map((chunk) => pipe.push(chunk) ?? '').join('');
    t.equal(text, events('a', '[DONE]'), name);
    t.ok(pipe.isEnded);
    t.equal(pipe.end(), null, name);
    t.equal(translator.ends, 1, name);
    t.equal(pipe.failure, null);
  }
  t.end();
});

t.test('stops at an error of the provider and leaves telling it to others', (t) => {
  const { text, pipe, translator } = relay([Buffer.from(events('say a', 'break', 'say b', 'finish'))]);
  t.equal(text, events('a'));
  t.equal(pipe.failure?.kind, 'upstreamServerError');
  t.notOk(pipe.isFailureShown);
  t.equal(translator.pushed.length, 2);
  t.equal(translator.ends, 0, 'the error frame takes the place of the end');
  t.end();
});

t.test('reads a last event without its blank line only when it is whole', (t) => {
  t.equal(relay([Buffer.from(`${events('say a', 'finish')}data: [DONE]`)]).translator.pushed.at(-1)?.data, '[DONE]');
  const cut = relay([Buffer.from(`${events('say a')}data: fini`)]);
  t.equal(cut.text, events('a'));
  t.notOk(cut.pipe.isComplete, 'half an event is no finish');
  t.end();
});
