/**
 * What an API key looks like: `sk-tg-<12 base62 id>_<43 base62 secret><6 base62 crc32>`. The id finds the row, the secret of
 * 256 bits proves the holder, the checksum turns away typing mistakes and noise before anything is looked up.
 * Only an HMAC of the whole key is ever stored; a secret this long needs no slow hash. Spec: reliability 8.2.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

export type ApiKeyFailure = 'malformed' | 'checksum';
export type IssuedApiKey = { token: string; publicId: string };
export type Pepper = { pepper: string; pepperId: string };

const scheme = 'sk-tg-';
const idLength = 12;
const secretLength = 43;
const checksumLength = 6;
const separatorIndex = scheme.length + idLength;
const checksumIndex = separatorIndex + 1 + secretLength;
const tokenLength = checksumIndex + checksumLength;
const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const form = /^sk-tg-[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/;
const digitNine = 57;
const letterZ = 90;

export function generateApiKey(): IssuedApiKey {
  return createApiKey(randomBase62(idLength), randomBase62(secretLength));
}

/** Puts the parts together with their checksum. */
export function createApiKey(publicId: string, secret: string): IssuedApiKey {
  const body = `${scheme}${publicId}_${secret}`;
  return { token: body + checksumOf(body), publicId };
}

export function parseApiKey(token: string): { publicId: string } | { failure: ApiKeyFailure } {
  const failure = checkApiKey(token);
  return failure === null ? { publicId: publicIdOf(token) } : { failure };
}

/** null: the form is right. Runs on every request. */
export function checkApiKey(token: string): ApiKeyFailure | null {
  // The length first: no expression walks a header of a megabyte.
  if (token.length !== tokenLength || !form.test(token)) return 'malformed';
  return readBase62(token, checksumIndex) === crc32(token.slice(0, checksumIndex)) ? null : 'checksum';
}

/** Of a token that was checked. */
export function publicIdOf(token: string): string {
  return token.slice(scheme.length, separatorIndex);
}

/** What may be shown: enough to recognise a key, nothing that helps to guess it. */
export function displayParts(token: string): { prefix: string; last4: string } {
  return { prefix: token.slice(0, separatorIndex), last4: token.slice(-4) };
}

/** The start of a public id out of what a person typed or pasted: an id, a shown prefix, or a whole key. */
export function publicIdStart(text: string): string {
  const start = text.startsWith(scheme) ? text.slice(scheme.length) : text;
  return start.slice(0, idLength).replace(/[^0-9A-Za-z].*$/, '');
}

export function hashApiKey(pepper: string, token: string): Buffer {
  return createHmac('sha256', pepper).update(token).digest();
}

/** The key of the hashes, from the one secret that an operator keeps. Its id is stored with each hash, so a change is noticed. */
export function derivePepper(secret: string): Pepper {
  const pepper = createHmac('sha256', secret).update('api-key-pepper').digest('base64url');
  return { pepper, pepperId: pepperIdOf(pepper) };
}

export function pepperIdOf(pepper: string): string {
  return createHash('sha256').update(pepper).digest('hex').slice(0, 8);
}

function checksumOf(body: string): string {
  let value = crc32(body);
  let digits = '';
  for (let index = 0; index < checksumLength; index += 1) {
    digits = alphabet.charAt(value % 62) + digits;
    value = Math.floor(value / 62);
  }
  return digits;
}

function readBase62(text: string, start: number): number {
  let value = 0;
  for (let index = start; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    value = value * 62 + code - (code <= digitNine ? 48 : code <= letterZ ? 55 : 61);
  }
  return value;
}

/** Bytes of 248 and above are left out: 256 is no multiple of 62, and the first letters would come up more often. */
function randomBase62(length: number): string {
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < 248 && text.length < length) text += alphabet.charAt(byte % 62);
    }
  }
  return text;
}
