/** The real `openai` package against a listening gateway, with a scripted upstream behind it. */
import OpenAI, { type ClientOptions } from 'openai';
import type { Test } from 'tap';
import { startGateway, type GatewayOptions, type TestGateway, type TestKey } from '../support/gateway.ts';
import { startUpstream, type Answer, type RecordedRequest, type Upstream } from '../support/upstream.ts';

export type SdkWorld = {
  gateway: TestGateway;
  upstream: Upstream;
  key: TestKey;
  /** Without retries of its own; `sent()` counts the requests that left it. */
  client: CountedClient;
  newClient(options?: ClientOptions): CountedClient;
  /** The last request that reached the upstream. */
  lastRequest(): RecordedRequest;
};

export type CountedClient = OpenAI & { sent(): number };

export const model = 'gpt-4o-mini';
export const messages = [{ role: 'user' as const, content: 'hi' }];

const unexpected: Answer = (_request, response) => {
  response.writeHead(500);
  response.end('this test did not expect a request');
};

/** The name of the provider that the upstream plays, as environment variables begin with it. */
export type SdkWorldOptions = GatewayOptions & { provider?: string };

/** Tests set `upstream.answer` before each call. */
export async function startSdkWorld(t: Test, options: SdkWorldOptions = {}): Promise<SdkWorld> {
  const upstream = await startUpstream(t, unexpected);
  const { provider = 'OPENAI' } = options;
  const environment = {
    [`${provider}_API_KEY`]: 'sk-upstream',
    [`${provider}_BASE_URL`]: upstream.url,
    ...options.environment,
  };
  const gateway = await startGateway(t, { ...options, environment });
  const key = await gateway.createKey();
  const newClient = (more: ClientOptions = {}): CountedClient => {
    let sent = 0;
    const client = new OpenAI({
      apiKey: key.token,
      baseURL: `${gateway.url}/v1`,
      maxRetries: 0,
      ...more,
      fetch: (input, init) => {
        sent += 1;
        return fetch(input, init);
      },
    });
    return Object.assign(client, { sent: () => sent });
  };
  return {
    gateway,
    upstream,
    key,
    client: newClient(),
    newClient,
    lastRequest() {
      const request = upstream.requests.at(-1);
      if (request === undefined) throw new Error('no request reached the upstream');
      return request;
    },
  };
}

/** What a promise was rejected with. */
export async function rejection(promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}
