/**
 * Amazon's Signature Version 4 worked out again from what a server received, by the steps of its description: canonical
 * request, string to sign, key by date, region and service. Shares nothing with the signer of the product.
 */
import { createHash, createHmac } from 'node:crypto';
import type { RecordedRequest } from './upstream.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

const encoded = (segment: string): string =>
  encodeURIComponent(segment).replaceAll(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);

export type SignatureCheck = { isRight: boolean; keyId: string; scope: string; signed: readonly string[] };

export function checkSignature({ path, headers, rawBody }: RecordedRequest, secret: string): SignatureCheck {
  const written =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? '',
    ) ?? [];
  const [, keyId = '', scope = '', names = '', signature = ''] = written;
  const date = String(headers['x-amz-date']);
  const signed = names.split(';');
  const canonical = [
    'POST',
    path.split('/').map(encoded).join('/'),
    '',
    ...signed.map((name) => `${name}:${String(headers[name]).trim()}`),
    '',
    names,
    sha256(rawBody),
  ].join('\n');
  const key = scope.split('/').reduce<string | Buffer>(hmac, `AWS4${secret}`);
  const expected = hmac(key, ['AWS4-HMAC-SHA256', date, scope, sha256(canonical)].join('\n')).toString('hex');
  return { isRight: scope.startsWith(date.slice(0, 8)) && expected === signature, keyId, scope, signed };
}
