/** `GET /v1/models`: OpenAI's list with the facts of the catalogue, only what this key may use. From memory. Spec: operations 3. */
import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ModelSpec, Price } from '../../contract/flow.ts';
import type { ListedModel, Router } from '../../routing/router.ts';
import { shortUsd } from '../../usage/price.ts';
import type { Callers } from './caller.ts';

export function registerModels(app: FastifyInstance, options: { router: Router; callers: Callers }): void {
  app.get('/models', async (request, reply) => {
    const data = options.router.list(await options.callers.verify(request)).map(describe);
    return sendCacheable(request, reply, JSON.stringify({ object: 'list', data }));
  });
  app.get<{ Params: { '*': string } }>('/models/*', async (request, reply) => {
    const principal = await options.callers.verify(request);
    const name = request.params['*'];
    const listed = options.router.list(principal).find(({ id }) => id === name);
    const model = listed ?? { id: name, target: options.router.resolve(name, principal).targets[0] };
    return sendCacheable(request, reply, JSON.stringify(describe(model)));
  });
}

function sendCacheable(request: FastifyRequest, reply: FastifyReply, body: string): FastifyReply {
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  void reply.headers({ etag, 'cache-control': 'private, no-cache', 'x-content-type-options': 'nosniff' });
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  return reply.type('application/json').send(body);
}

function describe({ id, target }: ListedModel): Record<string, unknown> {
  const { model } = target;
  const base = { id, object: 'model', created: model?.created ?? 0, owned_by: target.providerId };
  return model === null ? base : { ...base, ...facts(model) };
}

function facts(model: ModelSpec): Record<string, unknown> {
  return {
    name: model.name,
    context_length: model.contextTokens,
    max_output: model.maxOutputTokens,
    architecture: { input_modalities: model.inputModalities, output_modalities: model.outputModalities },
    pricing: model.price === null ? null : priceStrings(model.price),
    supported_parameters: model.supportedParameters,
    top_provider: { max_completion_tokens: model.maxOutputTokens },
  };
}

/** USD per token as decimal strings. */
function priceStrings(price: Price): Record<string, string> {
  return {
    prompt: shortUsd(price.input),
    completion: shortUsd(price.output),
    input_cache_read: shortUsd(price.cachedInput),
    input_cache_write: shortUsd(price.cacheWrite),
    internal_reasoning: shortUsd(price.reasoning),
  };
}
