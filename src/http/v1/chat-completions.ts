/** `POST /v1/chat/completions`: reads what HTTP carries and hands it to the corridor. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ChatCorridor } from '../../gateway/chat-corridor.ts';
import { type Callers, principalOf } from './caller.ts';

const empty = Buffer.alloc(0);

export function registerChatCompletions(
  app: FastifyInstance,
  options: { serveChat: ChatCorridor; callers: Callers },
): void {
  app.post('/chat/completions', async (request, reply) => {
    await options.serveChat({
      requestId: request.id,
      startedAtMs: request.startedAtMs,
      startedMonotonicMs: request.startedMonotonicMs,
      principal: principalOf(request),
      reload: () => options.callers.reload(request),
      rawBody: Buffer.isBuffer(request.body) ? request.body : empty,
      isStrict: request.headers['x-tollgate-strict'] === 'true',
      deadlineMs: readDeadlineMs(request),
      client: reply.raw,
      onAdmitted: () => {
        request.isAdmitted = true;
      },
      takeOver: () => {
        if (!reply.sent) reply.hijack();
      },
    });
    return reply;
  });
}

/** The SDKs say how long they are going to wait, in seconds. */
function readDeadlineMs(request: FastifyRequest): number | null {
  const seconds = Number(request.headers['x-stainless-timeout'] ?? Number.NaN);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : null;
}
