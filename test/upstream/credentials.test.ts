import { createHash, createHmac, generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { createCredentials, createTurns } from '../../src/upstream/credentials.ts';
import { createServiceAccount } from '../../src/upstream/service-account.ts';
import { signWithSigv4 } from '../../src/upstream/sigv4.ts';

const request = { origin: 'https://up.example', path: '/v1/x', headers: {}, body: Buffer.from('{}') };
const common = { 'content-type': 'application/json' };
const authorize = (secret: string): Record<string, string> => ({ authorization: `Bearer ${secret}` });

t.test('turns are in proportion to weights, and spread out', (t) => {
  const next = createTurns([
    { weight: 3, item: 'a' },
    { weight: 1, item: 'b' },
    { weight: 2, item: 'c' },
  ]);
  const round = Array.from({ length: 6 }, next).join('');
  t.equal(round, 'acabca');
  t.equal(Array.from({ length: 6 }, next).join(''), round, 'and so on');
  t.throws(() => createTurns([]), RangeError);
  t.end();
});

t.test('several keys are used in turn; one key gives the very same headers each time', (t) => {
  const sources = ['one', 'two'].map((key) => ({ weight: 1, read: () => key }));
  const both = createCredentials({ sources, common, authorize });
  t.same(
    [1, 2, 3].map(() => both.headersFor(request)),
    ['one', 'two', 'one'].map((key) => ({ ...common, authorization: `Bearer ${key}` })),
  );
  const single = createCredentials({ sources: sources.slice(0, 1), common, authorize });
  t.equal(single.headersFor(request), single.headersFor(request));
  t.same(createCredentials({ sources: [], common, authorize }).headersFor(request), common, 'no key, no header');
  t.end();
});

t.test('a key that changes is used from the next request on', (t) => {
  let key = 'old';
  const credentials = createCredentials({ sources: [{ weight: 1, read: () => key }], common, authorize });
  t.match(credentials.headersFor(request), { authorization: 'Bearer old' });
  key = 'new';
  t.match(credentials.headersFor(request), { authorization: 'Bearer new' });
  t.end();
});

/** The signature worked out by hand from the four steps that Amazon documents. */
function signatureByHand(secret: string, date: string, canonical: string): string {
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
  const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const day = date.slice(0, 8);
  const scope = `${day}/eu-west-1/bedrock/aws4_request`;
  const key = ['eu-west-1', 'bedrock', 'aws4_request'].reduce(hmac, hmac(`AWS4${secret}`, day));
  return hmac(key, `AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash(canonical)}`).toString('hex');
}

t.test('a request is signed over its method, path, headers and body', (t) => {
  const body = Buffer.from('{"messages":[]}');
  const path = '/model/vendor.model-v1%3A0/converse';
  const signed = signWithSigv4(
    'AKID:secret/with+signs:session',
    { origin: 'https://bedrock-runtime.eu-west-1.amazonaws.com', path, headers: { accept: 'application/json' }, body },
    { scheme: 'sigv4', service: 'bedrock', region: 'eu-west-1' },
  );
  const [, names = '', signature] =
    /SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(signed.authorization ?? '') ?? [];
  t.match(signed.authorization, /^AWS4-HMAC-SHA256 Credential=AKID\/\d{8}\/eu-west-1\/bedrock\/aws4_request, /);
  t.equal(signed['x-amz-security-token'], 'session');
  const headers = names.split(';').map((name) => `${name}:${signed[name] ?? ''}\n`);
  const bodyHash = createHash('sha256').update(body).digest('hex');
  const canonical = ['POST', path.replaceAll('%', '%25'), '', headers.join(''), names, bodyHash].join('\n');
  t.equal(signature, signatureByHand('secret/with+signs', signed['x-amz-date'] ?? '', canonical));
  t.end();
});

t.test('a token that was made elsewhere is sent as it is where others are signed with', (t) => {
  let secret = 'token-without-a-colon';
  const signing = { scheme: 'sigv4', service: 'bedrock', region: 'eu-west-1' } as const;
  const credentials = createCredentials({ sources: [{ weight: 1, read: () => secret }], common, authorize, signing });
  t.same(credentials.headersFor(request), { ...common, authorization: 'Bearer token-without-a-colon' });
  secret = 'AKID:secret';
  const signed = credentials.headersFor(request);
  t.match(signed, { ...common, authorization: /^AWS4-HMAC-SHA256 Credential=AKID\// }, 'a pair signs');
  t.notMatch(JSON.stringify(signed), /secret/);
  t.end();
});

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const documentOf = (email: string): string =>
  JSON.stringify({
    client_email: email,
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  });

type Endpoint = { calls: number; answer: () => Promise<Response> };

function open(endpoint: Endpoint, read: () => string) {
  const fetchImplementation = (): Promise<Response> => {
    endpoint.calls += 1;
    return endpoint.answer();
  };
  return createServiceAccount({ read, scopes: ['scope'], transporterOptions: { fetchImplementation, retry: false } });
}

const tokenReply = (value: string, seconds: number) => (): Promise<Response> =>
  Promise.resolve(
    new Response(JSON.stringify({ access_token: value, expires_in: seconds, token_type: 'Bearer' }), {
      headers: { 'content-type': 'application/json' },
    }),
  );

t.test('one token is fetched for all who wait, kept while it is good, and replaced before it ends', async (t) => {
  const endpoint: Endpoint = { calls: 0, answer: tokenReply('first', 3600) };
  let document = documentOf('one@project.example');
  const account = open(endpoint, () => document);
  t.same(await Promise.all([account.authorization(), account.authorization()]), ['Bearer first', 'Bearer first']);
  t.equal(endpoint.calls, 1);
  t.equal(account.authorization(), 'Bearer first', 'no promise while it is good');
  document = documentOf('two@project.example');
  endpoint.answer = tokenReply('second', 60);
  t.equal(await account.authorization(), 'Bearer second', 'another account has another token');
  endpoint.answer = tokenReply('third', 3600);
  t.equal(account.authorization(), 'Bearer second', 'it ends soon: a new one is fetched while the old one works');
  while (account.authorization() !== 'Bearer third') await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(endpoint.calls, 3);
});

t.test('no token is an error that says nothing of the key', async (t) => {
  const refused: Endpoint = { calls: 0, answer: () => Promise.resolve(new Response('{"error":"x"}', { status: 400 })) };
  await t.rejects(Promise.resolve(open(refused, () => documentOf('a@b.example')).authorization()));
  for (const document of ['not json', '{}', '{"client_email":"a"}']) {
    const error: unknown = await Promise.resolve(open(refused, () => document).authorization()).then(
      () => null,
      (reason: unknown) => reason,
    );
    t.match(error, { message: /service account/ });
  }
  t.equal(refused.calls, 1);
});

t.test('a service account asks with a bearer token, and waits for it only at first', async (t) => {
  const credentials = createCredentials({
    sources: [{ weight: 1, read: () => '{}' }],
    common,
    authorize,
    signing: { scheme: 'service-account', scopes: [] },
  });
  await t.rejects(Promise.resolve(credentials.headersFor(request)), /client_email/);
});
