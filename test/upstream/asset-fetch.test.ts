import { createServer, type RequestListener } from 'node:http';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { createAssetFetch, type AssetFetchOptions } from '../../src/upstream/asset-fetch.ts';

const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3]);

async function serve(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

function open(t: Test, options: Partial<AssetFetchOptions> = {}) {
  const assets = createAssetFetch({ hosts: ['*'], allowPrivate: true, ...options });
  t.teardown(() => assets.close());
  return assets;
}

const refusal = (message: RegExp) => ({ message, code: 'invalid_image_url' });

t.test('gives the bytes and the type of each file once', async (t) => {
  const asked: string[] = [];
  const url = await serve(t, (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''}`);
    response.writeHead(200, { 'content-type': 'image/PNG; charset=x' }).end(png);
  });
  const assets = await open(t).fetch([`${url}/a.png?x=1`, `${url}/a.png?x=1`, `${url}/b`]);
  t.same([...assets.keys()], [`${url}/a.png?x=1`, `${url}/b`]);
  t.same(assets.get(`${url}/b`), { mediaType: 'image/png', base64: png.toString('base64') });
  t.same(asked.sort(), ['GET /a.png?x=1 ', 'GET /b ']);
});

t.test('fetches nothing that the operator has not allowed', async (t) => {
  const url = await serve(t, (_request, response) => response.end('no'));
  const none = ['https://other.example/x', 'https://a.cdn.example.evil/x', 'https://acdn.example/x', `${url}/x`];
  t.same(await open(t, { hosts: [] }).fetch(none), new Map());
  t.same(await open(t, { hosts: ['*.cdn.example', 'img.example'], allowPrivate: false }).fetch(none), new Map());
  const urls = ['http://img.example/x', 'ftp://img.example/x', 'https://u:p@img.example/x', 'not a url', 'data:x'];
  t.same(await open(t, { hosts: ['img.example'], allowPrivate: false }).fetch(urls), new Map());
});

t.test('never reaches a private address, whatever the name', async (t) => {
  const assets = open(t, { allowPrivate: false });
  for (const host of ['127.0.0.1', '169.254.169.254', '[::1]', '10.0.0.1', 'localhost', '2130706433'])
    await t.rejects(assets.fetch([`https://${host}/latest/meta-data`]), refusal(/could not be fetched/), host);
});

t.test(
  "a redirect, an error, a page without a type and a broken connection are told as the caller's to mend",
  async (t) => {
    const url = await serve(t, (request, response) => {
      if (request.url === '/redirect') response.writeHead(302, { location: 'http://169.254.169.254/' }).end();
      else if (request.url === '/missing') response.writeHead(404).end('<html>');
      else if (request.url === '/untyped') response.writeHead(200).end('x');
      else request.socket.destroy();
    });
    const assets = open(t);
    await t.rejects(assets.fetch([`${url}/redirect`]), refusal(/status 302/));
    await t.rejects(assets.fetch([`${url}/missing`]), refusal(/status 404/));
    await t.rejects(assets.fetch([`${url}/untyped`]), refusal(/no known type/));
    await t.rejects(assets.fetch([`${url}/broken`]), refusal(/could not be fetched/));
  },
);

t.test('bytes, time and number are bounded', async (t) => {
  const url = await serve(t, (request, response) => {
    if (request.url === '/slow') return;
    response.writeHead(200, { 'content-type': 'image/png' });
    if (request.url === '/large') response.end(Buffer.alloc(2000));
    else response.end(Buffer.alloc(900));
  });
  const assets = open(t, { maximumBytes: 1000, timeoutMs: 300 });
  t.equal((await assets.fetch([`${url}/fits`])).size, 1);
  await t.rejects(assets.fetch([`${url}/fits`, `${url}/alone`]), refusal(/too large together/), 'all files together');
  await t.rejects(assets.fetch([`${url}/large`]), refusal(/could not be fetched/));
  await t.rejects(assets.fetch([`${url}/slow`]), refusal(/could not be fetched/));
  const many = Array.from({ length: 33 }, (_, index) => `${url}/${index}`);
  await t.rejects(assets.fetch(many), { message: /33 files/ });
});
