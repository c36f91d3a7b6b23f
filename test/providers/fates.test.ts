/**
 * The fidelity contract is complete for the parameters that the `openai` package knows, and true of what the adapters do:
 * one request per cell. What is mapped goes as it came unless `forms` says in which other form. Spec: fidelity 10.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { ChatCompletionCreateParamsStreaming } from 'openai/resources/chat/completions';
import t, { type Test } from 'tap';
import { openAiFates } from '../../providers/openai-fates.ts';
import { createDeclaredProvider, dialects, registry } from '../../providers/index.ts';
import type { ModelSpec } from '../../src/contract/flow.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import type { ChatEndpoint, ParameterFate, ProviderAdapter } from '../../src/contract/provider.ts';
import { isNameOf, named, sampleBody, samples } from '../../scripts/fidelity-samples.ts';
import { thrownBy } from '../support/json-at.ts';
import { sentBody } from '../support/sent-body.ts';

/** The compiler complains here when the package learns a parameter that has no row. */
openAiFates satisfies Readonly<Record<keyof ChatCompletionCreateParamsStreaming, ParameterFate>>;

const packageFolder = dirname(createRequire(import.meta.url).resolve('openai'));
const types = readFileSync(join(packageFolder, 'resources/chat/completions/completions.d.ts'), 'utf8');

/** The members of the request type and of its streaming variants, read off the declaration text. */
function declaredParameters(): string[] {
  const bodies = [
    ...types.matchAll(/interface ChatCompletionCreateParams(?:Base|NonStreaming|Streaming)\b[^{]*\{\n([\s\S]*?)\n\}/g),
  ];
  return [
    ...new Set(
      bodies.flatMap(([, body]) => [...(body ?? '').matchAll(/^ {4}(\w+)\??:/gm)].map(([, name]) => name ?? '')),
    ),
  ];
}

const adapters: ProviderAdapter[] = [
  ...Object.values(registry),
  ...dialects.map((dialect) => createDeclaredProvider({ id: dialect, dialect, baseUrl: 'http://127.0.0.1/v1' })),
];
const rows = Object.keys(registry.openai.endpoints.chat?.fates ?? {});

function chatOf(adapter: ProviderAdapter): ChatEndpoint {
  if (adapter.endpoints.chat === undefined) throw new Error(`${adapter.id} has no chat endpoint`);
  return adapter.endpoints.chat;
}

/** What OpenAI's own words become where a vendor has others: the members that go upstream. */
const emulated: Readonly<Record<string, JsonObject>> = {
  'messages.developer': { messages: [{ role: 'system', content: 'x' }, {}] },
  'tool_choice.allowed_tools': { tools: [named('f')] },
  functions: { tools: [named('f')] },
};
const effort = { reasoning: { effort: 'high' } };
const instruction = { response_format: { type: 'json_object' }, messages: [{ role: 'system', content: /Schema/ }, {}] };
const forms: Readonly<Record<string, Readonly<Record<string, object>>>> = {
  mistral: {
    seed: { random_seed: 1 },
    'messages.file_data': {
      messages: [{ content: [{ type: 'document_url', document_url: /^data:/, document_name: 'a.pdf' }] }],
    },
    'messages.reasoning_history': {
      messages: [
        {},
        {
          content: [
            { type: 'thinking', thinking: [{ type: 'text', text: 'z' }] },
            { type: 'text', text: 'y' },
          ],
        },
        {},
      ],
    },
    'tool_choice.required': { tool_choice: 'any' },
    'tool_choice.named': { tools: [named('f')], tool_choice: 'any' },
  },
  deepseek: { 'response_format.json_schema': instruction },
  openrouter: {
    web_search_options: { tools: [{ type: 'openrouter:web_search', parameters: { search_context_size: 'low' } }] },
    reasoning_effort: effort,
    'messages.reasoning_history': { messages: [{}, { reasoning: 'z' }, {}] },
  },
  cohere: { top_k: { k: 3 }, 'tool_choice.named': { tools: [named('f')], tool_choice: 'required' } },
  snowflake: { reasoning_effort: effort, 'messages.reasoning_history': { messages: [{}, { reasoning: 'z' }, {}] } },
};

/** An adapter of another dialect writes the body anew: there its own tests say in which form. */
const isEdited = (adapter: ProviderAdapter): boolean =>
  !('body' in chatOf(adapter).request(sampleBody({}), { upstreamModel: 'm', model: null }));

function expectedForm(adapter: ProviderAdapter, row: string): object {
  const own = forms[adapter.id]?.[row];
  if (own !== undefined) return own;
  const fate = chatOf(adapter).fates?.[row];
  if (row === 'max_tokens') return {};
  // Under whichever name: that the words arrive is checked beside.
  if (row === 'messages.reasoning_history') return {};
  return fate === 'emulated' ? (emulated[row] ?? samples[row] ?? {}) : (samples[row] ?? {});
}

function checkCell(t: Test, adapter: ProviderAdapter, row: string, model: ModelSpec | null = null): void {
  const fate = chatOf(adapter).fates?.[row];
  const body = sampleBody(samples[row] ?? {});
  const ask = (): ReturnType<ChatEndpoint['request']> =>
    chatOf(adapter).request(body, { upstreamModel: 'm', model }, new Map());
  if (fate === 'refused') {
    const thrown = thrownBy(ask);
    const param = thrown instanceof Error && 'param' in thrown ? String(thrown.param) : '';
    t.match(thrown, { status: 400, code: 'unsupported_parameter' }, `${row} is refused`);
    t.ok(isNameOf(row, param), `${row} is refused by its name, not as ${param}`);
    return;
  }
  const edit = ask();
  if (fate === 'dropped') {
    t.equal(edit.dropped.length, 1, `${row} is dropped: ${edit.dropped.join(', ')}`);
    t.ok(isNameOf(row, edit.dropped[0] ?? ''), `${row} is reported by its name`);
    return;
  }
  if (fate === 'by-model' && 'body' in edit) {
    // The model that nobody knows is taken for the newest, which may lack a knob.
    t.ok(
      edit.dropped.every((name) => isNameOf(row, name)),
      `${row} depends on the model`,
    );
    return;
  }
  t.same(edit.dropped, [], `${row} is ${fate}: nothing is lost`);
  if (fate === 'consumed' || fate === undefined) return;
  if (!('body' in edit) && row === 'messages.reasoning_history')
    t.match(JSON.stringify(sentBody(body, edit)), '"z"', `${row} arrives`);
  if (!('body' in edit)) t.match(sentBody(body, edit), expectedForm(adapter, row), `${row} in its form`);
  else t.not(written(adapter, body, model), written(adapter, withoutRow(row, body), model), `${row} is written`);
}

/** All that goes upstream: in some dialects a stream is asked for by the path alone. */
function written(adapter: ProviderAdapter, body: JsonObject, model: ModelSpec | null): string {
  const target = { upstreamModel: 'm', model };
  const chat = chatOf(adapter);
  return JSON.stringify([chat.path(target, body.stream === true), chat.request(body, target, new Map())]);
}

/** A choice is one between the tools beside it, and may be made by leaving them out. */
function withoutRow(row: string, body: JsonObject): JsonObject {
  return row.startsWith('tool_choice') ? { ...body, tool_choice: null } : sampleBody({});
}

t.test('knows every parameter of the openai package', (t) => {
  const parameters = declaredParameters();
  t.ok(parameters.length > 35, `${parameters.length} parameters were read`);
  t.ok(parameters.includes('messages') && parameters.includes('stream'));
  t.same(
    parameters.filter((name) => !rows.includes(name)),
    [],
    'each has a row',
  );
  t.end();
});

t.test('has a column for every provider', (t) => {
  for (const adapter of adapters) {
    const fates = chatOf(adapter).fates ?? {};
    t.same(
      rows.filter((row) => fates[row] === undefined),
      [],
      `${adapter.id} has a fate for each row`,
    );
  }
  t.end();
});

t.test('has a sample for every row but the structure', (t) => {
  const structure = ['messages', 'model', 'max_completion_tokens', 'stream_options', 'function_call'];
  t.same(rows.filter((row) => samples[row] === undefined).sort(), structure.sort());
  t.same(
    Object.keys(samples).filter((row) => !rows.includes(row)),
    [],
  );
  t.end();
});

for (const adapter of adapters) {
  t.test(`${adapter.id} does what its column says`, (t) => {
    for (const row of Object.keys(samples)) checkCell(t, adapter, row);
    t.end();
  });
}

t.test('a model that lacks what its provider can do is told so, not asked', (t) => {
  const model: ModelSpec = {
    id: 'x/m',
    providerId: 'x',
    upstreamModel: 'm',
    name: 'm',
    contextTokens: 1,
    maxOutputTokens: 1,
    inputModalities: ['text'],
    outputModalities: ['text'],
    supportedParameters: ['max_tokens'],
    price: null,
    abilities: { jsonSchema: false, forcedTool: 'never' },
    created: 0,
  };
  const refusing = ['messages.image', 'messages.input_audio', 'tools', 'n', 'modalities', 'audio'];
  for (const adapter of adapters.filter((candidate) => isEdited(candidate))) {
    const chat = chatOf(adapter);
    const fates = chat.fates ?? {};
    if (['openai', 'azure-openai', 'openai-exact', 'demo'].includes(adapter.id)) continue;
    for (const row of Object.keys(samples).filter((name) => fates[name] === 'by-model')) {
      const ask = (): ReturnType<ChatEndpoint['request']> =>
        chat.request(sampleBody(samples[row] ?? {}), { upstreamModel: 'm', model });
      if (refusing.includes(row)) t.match(thrownBy(ask), { code: 'unsupported_parameter' }, `${adapter.id} ${row}`);
      else if (row === 'response_format.json_schema') t.match(sentBody(sampleBody({}), ask()), instruction);
      else if (row !== 'messages.reasoning_history') {
        t.ok(isNameOf(row, ask().dropped[0] ?? ''), `${adapter.id} drops ${row}`);
      }
    }
  }
  t.end();
});
