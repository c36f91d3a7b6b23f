/**
 * Who calls: from the headers to a principal, or the refusal that says what is wrong with the key. A first answer comes
 * before the body is read; a second one, past every cache, when the engine knows that the key has changed since.
 */
import type { FastifyRequest } from 'fastify';
import { gatewayError, retryAfterHeaders, type GatewayError } from '../../contract/errors.ts';
import type { AuthFailure, AuthResult, Principal } from '../../contract/flow.ts';
import type { AdmissionGate } from '../../gateway/admission-gate.ts';
import type { Metrics } from '../../platform/metrics.ts';

export type Authenticator = {
  authenticate(token: string | undefined): AuthResult | Promise<AuthResult>;
  reload(token: string): Promise<AuthResult>;
  isFresh(token: string): boolean;
};

export type CallersOptions = { authenticator: Authenticator; gate: AdmissionGate; metrics: Metrics };

export type Callers = {
  /** Sets `request.principal` or gives the refusal. */
  authenticate(request: FastifyRequest, proceed: (error?: Error) => void): void;
  /** Sets and gives the principal of now; throws the refusal. */
  reload(request: FastifyRequest): Promise<Principal>;
  /** The same for a route that admits nothing: only a key that has changed is read again. */
  verify(request: FastifyRequest): Promise<Principal>;
};

export function createCallers({ authenticator, gate, metrics }: CallersOptions): Callers {
  return { authenticate, reload, verify };

  function authenticate(request: FastifyRequest, proceed: (error?: Error) => void): void {
    const result = authenticator.authenticate(readToken(request));
    if (!('then' in result)) {
      proceed(accept(request, result));
      return;
    }
    result.then(
      (settled) => proceed(accept(request, settled)),
      (cause: unknown) => proceed(accept(request, { kind: 'unknown', cause })),
    );
  }

  async function reload(request: FastifyRequest): Promise<Principal> {
    const refusal = accept(request, await authenticator.reload(readToken(request) ?? ''));
    if (refusal !== undefined) throw refusal;
    return principalOf(request);
  }

  async function verify(request: FastifyRequest): Promise<Principal> {
    return gate.verify({
      principal: principalOf(request),
      reload: () => reload(request),
      isFresh: () => authenticator.isFresh(readToken(request) ?? ''),
    });
  }

  function accept(request: FastifyRequest, result: AuthResult): GatewayError | undefined {
    switch (result.kind) {
      case 'valid':
        request.principal = result.principal;
        return undefined;
      case 'invalid':
        metrics.authFailures.inc({ reason: result.reason });
        return invalidKey(result.reason);
      case 'unknown':
        metrics.authFailures.inc({ reason: 'unavailable' });
        return gatewayError('authUnavailable', {
          message: 'The API key cannot be checked right now. Please try again in 1s.',
          headers: retryAfterHeaders(1000),
          cause: result.cause,
        });
    }
  }
}

export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === null) throw invalidKey('missing');
  return request.principal;
}

/** `Authorization: Bearer` or `x-api-key`; never the query, which ends up in the logs of every proxy. */
function readToken(request: FastifyRequest): string | undefined {
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    if (authorization.startsWith('Bearer sk-') && !authorization.includes(' ', 7)) return authorization.slice(7);
    return /^Bearer[ ]+(\S+)[ ]*$/i.exec(authorization)?.[1] ?? '';
  }
  const apiKey = request.headers['x-api-key'];
  return typeof apiKey === 'string' ? apiKey : undefined;
}

const keyMistakes: Record<AuthFailure, string> = {
  missing: 'You did not provide an API key. Send it in the header `Authorization: Bearer sk-tg-...`.',
  malformed:
    'The API key is not one of this gateway: those begin with `sk-tg-`. Send it in the header `Authorization: Bearer sk-tg-...`.',
  checksum: 'The API key has a typing mistake: its checksum does not fit. Copy it again.',
  unknown: 'The API key is not known here. It may belong to another gateway, or it was deleted.',
  expired: 'The API key has expired. Create a new one.',
  disabled: 'The API key, or its account, is disabled.',
  revoked: 'The API key was revoked. Create a new one.',
};

function invalidKey(reason: AuthFailure): GatewayError {
  return gatewayError('invalidApiKey', { message: keyMistakes[reason], headers: { 'www-authenticate': 'Bearer' } });
}
