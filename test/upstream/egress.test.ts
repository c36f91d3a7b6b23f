import type { LookupAddress, LookupOptions } from 'node:dns';
import { isIP } from 'node:net';
import t from 'tap';
import { createEgress, PrivateAddressError } from '../../src/upstream/egress.ts';

const wordsOf = (text: string): string[] => text.trim().split(/\s+/);

const specialPurpose = wordsOf(`
  0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1
  172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.175.48.1
  198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
  :: ::1 ::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 100::1 100:0:0:1::1 2001::1 2001:1ff::1 2001:db8::1 2002:7f00:1::
  2620:4f:8000::1 3fff::1 5f00::1 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 fe80::1%eth0
  ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::FFFF:C0A8:0001 0:0:0:0:0:ffff:7f00:1
`);

const publicAddresses = wordsOf(`
  1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
  172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
  2606:4700::1111 2a00:1450::1 2001:4860:4860::8888 ::ffff:8.8.8.8 ::ffff:808:808
`);

const egress = createEgress();
const isPrivate = { code: 'ERR_PRIVATE_ADDRESS' };
const bracketed = (address: string): string => (isIP(address) === 6 ? `[${address}]` : address);

t.test('refuses every special-purpose address that stands in a URL', (t) => {
  for (const address of specialPurpose) {
    t.throws(() => egress.assertHostname(bracketed(address)), isPrivate, address);
    t.throws(() => egress.assertHostname(address), isPrivate, `${address} without brackets`);
  }
  t.end();
});

t.test('lets public addresses and names pass', (t) => {
  for (const hostname of [...publicAddresses.map(bracketed), 'api.example.com', 'localhost', '']) {
    t.doesNotThrow(() => egress.assertHostname(hostname), hostname);
  }
  t.end();
});

t.test('refuses loopback however a URL spells it', (t) => {
  const spellings = wordsOf(`
    127.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 127.0.0.1. ①②⑦.0.0.1 0
    [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1]
  `);
  for (const host of spellings) {
    const { hostname } = new URL(`http://${host}:8080/v1`);
    t.throws(() => egress.assertHostname(hostname), isPrivate, `${host} is ${hostname}`);
  }
  t.end();
});

type Answer = string | LookupAddress[] | NodeJS.ErrnoException;

/** What a connection gets when the resolver answers so. */
function resolve(answer: Answer, options: LookupOptions = {}) {
  const asked: [string, LookupOptions][] = [];
  const { lookup } = createEgress((hostname, wanted, callback) => {
    asked.push([hostname, wanted]);
    if (answer instanceof Error) callback(answer, '');
    else callback(null, answer, typeof answer === 'string' ? isIP(answer) : undefined);
  });
  const results: { error: NodeJS.ErrnoException | null; address: unknown; family: unknown }[] = [];
  lookup('api.example.com', options, (error, address, family) => {
    results.push({ error, address, family });
  });
  t.same(asked, [['api.example.com', options]], 'the resolver is asked once, with what the connection wants');
  const [result = { error: null, address: 'nobody was told', family: 0 }] = results;
  t.equal(results.length, 1);
  return result;
}

t.test('refuses a name that resolves to a special-purpose address', (t) => {
  for (const address of specialPurpose) {
    const { error, address: given } = resolve(address);
    t.ok(error instanceof PrivateAddressError, address);
    t.equal(given, '', 'no address leaves');
  }
  t.end();
});

t.test('refuses a name as soon as one of its addresses is private', (t) => {
  const good = { address: '8.8.8.8', family: 4 };
  for (const bad of [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
    { address: '::ffff:10.0.0.1', family: 6 },
  ]) {
    for (const list of [[good, bad], [bad, good], [bad]]) {
      t.ok(resolve(list, { all: true }).error instanceof PrivateAddressError, JSON.stringify(list));
    }
  }
  t.end();
});

t.test('gives public addresses as the resolver gave them', (t) => {
  const list = publicAddresses.map((address) => ({ address, family: isIP(address) }));
  t.same(resolve(list, { all: true, hints: 32 }), { error: null, address: list, family: undefined });
  t.same(resolve('8.8.8.8', { family: 4 }), { error: null, address: '8.8.8.8', family: 4 });
  t.same(resolve([], { all: true }), { error: null, address: [], family: undefined });
  t.end();
});

t.test("gives the resolver's own error", (t) => {
  const error = Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' });
  t.equal(resolve(error).error, error);
  t.end();
});

t.test('checks each look-up anew, so that a name cannot turn private later', (t) => {
  const answers = ['8.8.8.8', '127.0.0.1', '8.8.8.8'];
  const { lookup } = createEgress((_hostname, _options, callback) => callback(null, answers.shift() ?? '', 4));
  const results: string[] = [];
  for (let count = 0; count < 3; count += 1) {
    lookup('rebinding.example.com', {}, (error, address) => {
      results.push(error === null ? JSON.stringify(address) : (error.code ?? ''));
    });
  }
  t.same(results, ['"8.8.8.8"', 'ERR_PRIVATE_ADDRESS', '"8.8.8.8"']);
  t.end();
});

t.test('the real resolver is used when none is given', async (t) => {
  const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
    createEgress().lookup('localhost', { all: true }, (refusal) => resolve(refusal));
  });
  t.ok(error instanceof PrivateAddressError);
});
