/** Signs one request for Amazon's cloud. Spec: AWS Signature Version 4; fidelity 5.4. */
import aws4 from 'aws4';
import type { Signing } from '../contract/provider.ts';
import type { RequestHeaders, SignableRequest } from './credentials.ts';

/**
 * `secret` is `<access key id>:<secret access key>[:<session token>]`. Gives the headers to add: `authorization`,
 * `host`, `x-amz-date` and, with a session, `x-amz-security-token`.
 */
export function signWithSigv4(
  secret: string,
  request: SignableRequest,
  { service, region }: Extract<Signing, { scheme: 'sigv4' }>,
): RequestHeaders {
  const [accessKeyId, secretAccessKey, ...session] = secret.split(':');
  const signed = aws4.sign(
    {
      host: new URL(request.origin).host,
      method: 'POST',
      path: request.path,
      service,
      region,
      headers: { ...request.headers },
      body: request.body,
    },
    {
      ...(accessKeyId === undefined ? {} : { accessKeyId }),
      ...(secretAccessKey === undefined ? {} : { secretAccessKey }),
      ...(session.length === 0 ? {} : { sessionToken: session.join(':') }),
    },
  );
  return Object.fromEntries(
    Object.entries(signed.headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]),
  );
}
