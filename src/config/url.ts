/** The URLs of the configuration. A message never repeats the URL: it may hold a password. */
import { createSecret } from './secret.ts';
import type { Secret } from './types.ts';
import type { Parsed } from './units.ts';

const refuse = (message: string): { ok: false; message: string } => ({ ok: false, message });

/** The parser drops tabs and line breaks silently; a URL with one is a mistake and not a URL without it. */
function parse(text: string): URL | null {
  return /[\s\\]/.test(text.trim()) ? null : URL.parse(text.trim());
}

/** Normalised, without its last slash, so that a path can be put behind it. */
export function parseEndpointUrl(text: string): Parsed<string> {
  const url = parse(text);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '') {
    return refuse('expected an http or https URL');
  }
  if (url.username !== '' || url.password !== '') return refuse('a URL here may not hold credentials');
  if (url.search !== '' || url.hash !== '' || /[?#]$/.test(text.trim())) {
    return refuse('a URL here may not hold a query or a fragment');
  }
  return { ok: true, value: url.href.replace(/\/+$/, '') };
}

export function parseStoreUrl(text: string, protocols: readonly string[]): Parsed<Secret> {
  const url = parse(text);
  return url === null || !protocols.includes(url.protocol)
    ? refuse(`expected a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`)
    : { ok: true, value: createSecret(text.trim()) };
}
