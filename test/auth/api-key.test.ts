import { assert, constantFrom, integer, property, string, uint8Array } from 'fast-check';
import t from 'tap';
import {
  checkApiKey,
  createApiKey,
  derivePepper,
  displayParts,
  generateApiKey,
  hashApiKey,
  parseApiKey,
  pepperIdOf,
  publicIdOf,
  publicIdStart,
} from '../../src/auth/api-key.ts';

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const shape = /^sk-tg-([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;

t.test('makes keys of the one form, and reads them back', (t) => {
  const keys = Array.from({ length: 500 }, generateApiKey);
  for (const { token, publicId } of keys) {
    const [, id] = shape.exec(token) ?? [];
    if (id !== publicId) t.fail(`${token} has not the form`);
    t.same(parseApiKey(token), { publicId });
  }
  t.equal(new Set(keys.map(({ token }) => token)).size, 500);
  t.equal(new Set(keys.map(({ publicId }) => publicId)).size, 500);
  const letters = new Set(keys.flatMap(({ token }) => Array.from(token.slice(6, 18) + token.slice(19, 62))));
  t.equal(letters.size, 62, 'every letter comes up');
  t.end();
});

t.test('stays the same for ever, because keys live in the configuration of others', (t) => {
  const { token } = createApiKey('AAAAAAAAAAAA', 'B'.repeat(43));
  t.equal(token, `sk-tg-AAAAAAAAAAAA_${'B'.repeat(43)}0e9L9m`);
  t.equal(
    hashApiKey('pepper', token).toString('hex'),
    '7a2a2d3b9a3ea6b3fd0efd854a159919b5fb94d2ba51ab49e9a750ce8d1e65d1',
  );
  t.same(derivePepper('a secret of the operator'), {
    pepper: 'uRafCIi5vRzcsmMNhz5RYlBUvh_CdJ9KA29A9TgoMfs',
    pepperId: '032f0d65',
  });
  t.end();
});

t.test('notices one changed character anywhere', (t) => {
  assert(
    property(integer({ min: 0, max: 67 }), constantFrom(...Array.from(base62)), (index, letter) => {
      const { token } = generateApiKey();
      const changed = token.slice(0, index) + letter + token.slice(index + 1);
      return changed === token ? checkApiKey(changed) === null : checkApiKey(changed) !== null;
    }),
  );
  t.end();
});

t.test('tells a wrong checksum from a wrong form', (t) => {
  const { token } = createApiKey('AAAAAAAAAAAA', 'B'.repeat(43));
  t.same(parseApiKey(token.replace('BB', 'BC')), { failure: 'checksum' });
  t.same(parseApiKey(`${token.slice(0, -1)}!`), { failure: 'malformed' });
  t.same(parseApiKey(`${token} `), { failure: 'malformed' });
  t.same(parseApiKey(token.replace('_', '-')), { failure: 'malformed' });
  t.same(parseApiKey(token.replace('sk-tg-', 'sk-ab-')), { failure: 'malformed' });
  t.same(parseApiKey(''), { failure: 'malformed' });
  t.end();
});

t.test('takes nothing else for a key', (t) => {
  assert(property(string({ maxLength: 100 }), (text) => checkApiKey(text) !== null));
  assert(
    property(string({ unit: 'binary', minLength: 62, maxLength: 62 }), (rest) => checkApiKey(`sk-tg-${rest}`) !== null),
  );
  assert(
    property(uint8Array({ minLength: 62, maxLength: 62 }), (bytes) => {
      const rest = [...bytes].map((byte) => base62.charAt(byte % 62)).join('');
      return checkApiKey(`sk-tg-${rest.slice(0, 12)}_${rest.slice(13)}`) === 'checksum';
    }),
  );
  t.end();
});

t.test('hashes to something else under another pepper', (t) => {
  const { token } = generateApiKey();
  t.equal(hashApiKey('a', token).length, 32);
  t.notSame(hashApiKey('a', token), hashApiKey('b', token));
  const { pepper, pepperId } = derivePepper('secret');
  t.equal(pepperIdOf(pepper), pepperId);
  t.match(pepperId, /^[0-9a-f]{8}$/);
  t.notMatch(pepper, /secret/);
  t.end();
});

t.test('shows the id and the end of a key, and nothing of its secret', (t) => {
  const { token, publicId } = generateApiKey();
  t.same(displayParts(token), { prefix: `sk-tg-${publicId}`, last4: token.slice(-4) });
  t.equal(publicIdOf(token), publicId);
  t.end();
});

t.test('finds the id in whatever a person pastes', (t) => {
  const { token, publicId } = createApiKey('AbCdEf123456', 'B'.repeat(43));
  for (const text of [token, publicId, `sk-tg-${publicId}`, `sk-tg-${publicId}_`])
    t.equal(publicIdStart(text), publicId);
  t.equal(publicIdStart('sk-tg-AbC'), 'AbC');
  t.equal(publicIdStart('AbC…'), 'AbC');
  t.equal(publicIdStart('sk-tg-'), '');
  t.end();
});
