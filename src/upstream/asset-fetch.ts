/**
 * Fetches what a caller named by its URL, for dialects that take only bytes. Off unless the operator named hosts: nobody
 * else chooses where this gateway connects to. Only https, only public addresses (checked on what the name resolves to),
 * no redirects, no credentials, few bytes, little time. Spec: reliability 8.1.9 and A12.3.
 */
import { Agent, type Dispatcher } from 'undici';
import { gatewayError, type GatewayError } from '../contract/errors.ts';
import type { Asset } from '../contract/provider.ts';
import { createEgress } from './egress.ts';

export type AssetFetchOptions = {
  /** Host names, `*.example.com` for all below one, `*` for every public host. Empty: nothing is fetched. */
  hosts: readonly string[];
  /** Of all files of one request together. */
  maximumBytes?: number;
  timeoutMs?: number;
  /** For tests: loopback over plain http is reached as well. */
  allowPrivate?: boolean;
};

export interface AssetFetch {
  /** Of those that may be fetched; the others are absent. Throws a `GatewayError` for one that cannot be had. */
  fetch(urls: readonly string[]): Promise<ReadonlyMap<string, Asset>>;
  close(): Promise<void>;
}

const defaultMaximumBytes = 20 * 1024 * 1024;
const defaultTimeoutMs = 10_000;
const mostUrls = 32;

export function createAssetFetch(options: AssetFetchOptions): AssetFetch {
  const { hosts, maximumBytes = defaultMaximumBytes, timeoutMs = defaultTimeoutMs, allowPrivate = false } = options;
  const egress = createEgress();
  const agent = new Agent({
    connections: 8,
    maxResponseSize: maximumBytes,
    connect: { timeout: timeoutMs, ...(allowPrivate ? {} : { lookup: egress.lookup }) },
  });

  async function fetchOne(text: string, room: Room): Promise<[string, Asset] | null> {
    const url = URL.parse(text);
    if (url === null || !isAllowed(url)) return null;
    try {
      if (!allowPrivate) egress.assertHostname(url.hostname);
      const reply = await agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: 'GET',
        headers: {
          accept: 'image/*, application/pdf, text/plain',
          'accept-encoding': 'identity',
          'user-agent': 'tollgate',
        },
        signal: AbortSignal.timeout(timeoutMs),
      });
      return [text, await readAsset(url, reply, room)];
    } catch (error) {
      throw error instanceof Error && 'kind' in error ? error : unreachable(url, 'could not be fetched', error);
    }
  }

  function isAllowed(url: URL): boolean {
    if (url.username !== '' || url.password !== '') return false;
    if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:')) return false;
    return hosts.some((host) => matches(host, url.hostname));
  }

  return {
    async fetch(urls) {
      const distinct = [...new Set(urls)];
      if (hosts.length === 0) return new Map();
      if (distinct.length > mostUrls) {
        throw gatewayError('invalidRequest', {
          message: `The messages name ${distinct.length} files by URL; at most ${mostUrls} are fetched for one request.`,
          param: 'messages',
        });
      }
      const room = { bytes: maximumBytes };
      const found = await Promise.all(distinct.map((url) => fetchOne(url, room)));
      return new Map(found.filter((entry) => entry !== null));
    },
    close: () => agent.destroy(),
  };
}

/** What is left for the files of one request. */
type Room = { bytes: number };

async function readAsset(url: URL, { statusCode, headers, body }: Dispatcher.ResponseData, room: Room): Promise<Asset> {
  const type = typeof headers['content-type'] === 'string' ? headers['content-type'] : '';
  const mediaType = type.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (statusCode !== 200 || !/^(?:image|application|text)\/[\w.+-]+$/.test(mediaType)) {
    await body.dump();
    throw unreachable(url, statusCode === 200 ? 'is of no known type' : `answered with status ${statusCode}`);
  }
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) {
    room.bytes -= chunk.length;
    // Leaving the loop ends the connection.
    if (room.bytes < 0) throw unreachable(url, 'makes the files of this request too large together');
    chunks.push(chunk);
  }
  return { mediaType, base64: Buffer.concat(chunks).toString('base64') };
}

/** A host pattern never matches in the middle of a name. */
function matches(pattern: string, hostname: string): boolean {
  if (pattern === '*') return true;
  return pattern.startsWith('*.') ? hostname.endsWith(pattern.slice(1)) : hostname === pattern;
}

function unreachable(url: URL, what: string, cause?: unknown): GatewayError {
  return gatewayError('invalidRequest', {
    message: `The file at ${url.origin} ${what}. Send it inside the request as a data: URL.`,
    param: 'messages',
    code: 'invalid_image_url',
    ...(cause === undefined ? {} : { cause }),
  });
}
