import t from 'tap';
import { createSealer, credentialContext } from '../../src/auth/sealed-text.ts';

const secret = 'a secret of thirty-two characters';
const context = credentialContext('account-1', 'acme');

t.test('opens what it sealed, and seals the same text differently each time', (t) => {
  const sealer = createSealer(secret);
  const [one, other] = [sealer.seal('sk-secret-é', context), sealer.seal('sk-secret-é', context)];
  t.not(one, other);
  t.match(one, /^v1\.[\w-]+$/);
  t.notMatch(one, /secret/);
  t.equal(sealer.open(one, context), 'sk-secret-é');
  t.equal(createSealer(secret).open(other, context), 'sk-secret-é', 'after a restart too');
  t.end();
});

t.test('opens nothing that is changed, moved to another account or provider, or of another secret', (t) => {
  const sealer = createSealer(secret);
  const sealed = sealer.seal('sk-secret', context);
  const refused = { message: /cannot be opened; was TOLLGATE_SECRET changed\?/ };
  t.throws(() => sealer.open(sealed, credentialContext('account-2', 'acme')), refused);
  t.throws(() => sealer.open(sealed, credentialContext('account-1', 'other')), refused);
  t.throws(() => createSealer(`${secret}!`).open(sealed, context), refused);
  t.throws(() => sealer.open(sealed.slice(3), context), refused);
  const bytes = Buffer.from(sealed.slice(3), 'base64url');
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    t.throws(() => sealer.open(`v1.${changed.toString('base64url')}`, context), refused, `byte ${at}`);
  }
  for (let length = 0; length < bytes.length; length += 1)
    t.throws(() => sealer.open(`v1.${bytes.subarray(0, length).toString('base64url')}`, context), refused);
  t.end();
});
