/**
 * The address of Redis in its three forms. One server keeps the URL that every client knows; Sentinel and Cluster list
 * their nodes behind a scheme of their own:
 *
 *   redis://user:password@host:6379/0
 *   redis+sentinel://user:password@host:26379,host:26379/master-name/0
 *   redis+cluster://user:password@host:6379,host:6379
 *
 * `rediss` instead of `redis` is TLS. A message never repeats the URL: it may hold a password.
 */
import type { Parsed } from './units.ts';

export type RedisNode = { host: string; port: number };

type Behind = { nodes: readonly RedisNode[]; username: string | null; password: string | null; isTls: boolean };

export type RedisAddress =
  | { topology: 'standalone'; url: string }
  | (Behind & { topology: 'sentinel'; masterName: string; database: number })
  | (Behind & { topology: 'cluster' });

const defaultPorts = { sentinel: 26_379, cluster: 6379 };
const form = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^@]*)@)?([^/?#@]*)(?:\/([^?#]*))?(\?[^#]*)?$/;

const refuse = (message: string): { ok: false; message: string } => ({ ok: false, message });

export function parseRedisUrl(text: string): Parsed<RedisAddress> {
  const url = text.trim();
  const [matched, tls = '', kind, credentials = '', hosts = '', path = '', query = ''] = form.exec(url) ?? [];
  if (matched === undefined || /[\s\\]/.test(url)) {
    return refuse('expected a URL that starts with redis://, rediss://, redis+sentinel:// or redis+cluster://');
  }
  if (kind !== 'sentinel' && kind !== 'cluster') {
    if (hosts.includes(',')) return refuse('several hosts need redis+sentinel:// or redis+cluster://');
    return URL.canParse(url) ? { ok: true, value: { topology: 'standalone', url } } : refuse('expected a redis:// URL');
  }
  if (query !== '') return refuse(`redis+${kind}:// takes no query`);
  const nodes = hosts.split(',').map((host) => parseNode(host, defaultPorts[kind]));
  const known = nodes.filter((node) => node !== null);
  if (known.length < nodes.length) return refuse('expected host:port, or several of them with commas between');
  const [username, password] = parseCredentials(credentials);
  const behind: Behind = { nodes: known, username, password, isTls: tls !== '' };
  return kind === 'sentinel' ? parseSentinel(behind, path) : parseCluster(behind, path);
}

function parseSentinel(behind: Behind, path: string): Parsed<RedisAddress> {
  const [masterName = '', database = '0', ...rest] = path.split('/');
  if (masterName === '') {
    return refuse('redis+sentinel:// needs the name of the master behind its hosts, as in host:26379/mymaster');
  }
  if (!/^\d{1,5}$/.test(database) || rest.length > 0) {
    return refuse('behind the name of the master only the number of a database may follow, as in /mymaster/0');
  }
  return { ok: true, value: { ...behind, topology: 'sentinel', masterName, database: Number(database) } };
}

function parseCluster(behind: Behind, path: string): Parsed<RedisAddress> {
  if (path !== '' && path !== '0') return refuse('a Redis Cluster has no databases: nothing may follow its hosts');
  return { ok: true, value: { ...behind, topology: 'cluster' } };
}

/** The parser of URLs knows of brackets, ports and what a name may hold. */
function parseNode(text: string, defaultPort: number): RedisNode | null {
  const url = text === '' ? null : URL.parse(`redis://${text}`);
  if (url === null || url.hostname === '' || url.pathname !== '') return null;
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? defaultPort : Number(url.port),
  };
}

function parseCredentials(text: string): [username: string | null, password: string | null] {
  const [username = '', ...password] = text.split(':');
  const decode = (part: string): string | null => (part === '' ? null : decodeText(part));
  return [decode(username), decode(password.join(':'))];
}

function decodeText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
