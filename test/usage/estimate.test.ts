import t from 'tap';
import {
  estimateInputTokens,
  estimateOutputTokens,
  likelyInputTokens,
  tokensOfCharacters,
} from '../../src/usage/estimate.ts';

const input = (content: unknown): number =>
  estimateInputTokens(Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] })));
const around = input('');
const image = (bytes: number): string => `data:image/png;base64,${Buffer.alloc(bytes, 7).toString('base64')}`;
const imagePart = (url: string) => ({ type: 'image_url', image_url: { url } });

t.test('takes two bytes for a token, which is more than any text needs', (t) => {
  t.equal(estimateInputTokens(Buffer.alloc(1000, 'a')), 500);
  t.equal(estimateInputTokens(Buffer.alloc(1001, 'a')), 501);
  t.equal(estimateInputTokens(Buffer.from('漢字漢字')), 6, 'three bytes each');
  t.equal(estimateInputTokens(Buffer.alloc(0)), 0);
  t.end();
});

t.test('an attachment costs by its kind and not by its bytes', (t) => {
  for (const bytes of [1000, 100_000, 3_000_000]) {
    const estimate = input([imagePart(image(bytes))]);
    t.ok(estimate > 1500 && estimate < 1600 + around, `${bytes} bytes: ${estimate} tokens`);
  }
  const two = input([imagePart(image(50_000)), { type: 'text', text: 'x'.repeat(2000) }, imagePart(image(9))]);
  t.ok(two > 4000 && two < 4300, `two images and a text: ${two} tokens`);
  t.end();
});

t.test('a text that speaks of base64 is counted as the text it is', (t) => {
  const prose = 'word '.repeat(10_000);
  for (const content of [`;base64,${prose}`, `data:text/plain;base64, ${prose}`, `${image(100)} ${prose}`]) {
    t.ok(input(content) >= prose.length / 2, content.slice(0, 40));
  }
  const page = `<img src="${image(1000)}">${prose}`;
  t.ok(input(page) >= prose.length / 2, 'a page with a picture inside it');
  t.end();
});

t.test('reads a body of the largest size once, however often it says base64', (t) => {
  const marks = ';base64,'.repeat(500_000);
  t.equal(estimateInputTokens(Buffer.from(`${marks} ${marks}`)), marks.length + 1);
  t.ok(estimateInputTokens(Buffer.from(marks)) > 0, 'without an end');
  t.end();
});

t.test('reserves what the reply may hold', (t) => {
  const cases: [body: Record<string, number | null>, cap: number | null, tokens: number][] = [
    [{}, null, 1024],
    [{}, 512, 512],
    [{ max_tokens: 100 }, null, 100],
    [{ max_tokens: 100_000 }, 4096, 4096],
    [{ max_completion_tokens: 200, max_tokens: 100 }, null, 200],
    [{ max_completion_tokens: null, max_tokens: 100 }, null, 100],
    [{ max_tokens: null }, null, 1024],
    [{ n: 3 }, 8192, 3072],
    [{ n: 4, max_tokens: 10 }, 8192, 40],
    [{ n: 4, max_tokens: 100 }, 50, 200],
    [{ n: null }, null, 1024],
    [{ n: 128, max_completion_tokens: 1_000_000_000 }, null, 128_000_000_000],
  ];
  for (const [body, cap, tokens] of cases) t.equal(estimateOutputTokens(body, cap), tokens, JSON.stringify(body));
  t.end();
});

t.test('what was never counted is taken at four characters a token', (t) => {
  t.equal(tokensOfCharacters(0), 0);
  t.equal(tokensOfCharacters(1), 1);
  t.equal(tokensOfCharacters(9), 3);
  t.equal(likelyInputTokens(0), 0);
  t.equal(likelyInputTokens(500), 250, 'half of a reservation that is twice too high');
  t.end();
});

t.test('audio without a data URL is an attachment, and a short or spoken member of that name is text', (t) => {
  const audio = (data: string): Buffer =>
    Buffer.from(JSON.stringify({ content: [{ type: 'input_audio', input_audio: { data, format: 'wav' } }] }));
  t.ok(estimateInputTokens(audio('QUJD'.repeat(250_000))) < 2_000);
  t.ok(estimateInputTokens(audio('well, well '.repeat(1_000))) > 5_000);
  t.equal(estimateInputTokens(audio('QUJD')), Math.ceil(audio('QUJD').length / 2));
  t.end();
});
