/** A Chat Completions body as generateContent takes it, rule by rule. Spec: fidelity 5.1, 10. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { google } from '../../providers/google.ts';
import { vertex } from '../../providers/vertex.ts';
import { GatewayError } from '../../src/contract/errors.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { AdapterTarget, RequestRewrite } from '../../src/contract/provider.ts';
import { seededRandom } from '../support/byte-feedings.ts';
import { gemini, named } from '../support/gemini-models.ts';
import { at, thrownBy } from '../support/json-at.ts';
import { spoil } from '../support/odd-json.ts';

const newest = named('gemini-next');
const user: JsonValue = { role: 'user', content: 'hi' };

function written(members: JsonObject, target: AdapterTarget = newest, adapter = google): RequestRewrite {
  const body = { model: 'public', messages: [user], ...members };
  const edit = adapter.endpoints.chat?.request(body, target);
  if (edit === undefined || !('body' in edit)) throw new Error('this dialect writes the body anew');
  return edit;
}

const config = (members: JsonObject, target?: AdapterTarget): JsonValue | undefined =>
  written(members, target).body['generationConfig'];
const contents = (messages: JsonValue[], target?: AdapterTarget): JsonValue | undefined =>
  written({ messages }, target).body['contents'];
const parts = (content: JsonValue, target?: AdapterTarget): JsonValue | undefined =>
  at(contents([{ role: 'user', content }], target), 0, 'parts');
const refusal = (members: JsonObject, target?: AdapterTarget): unknown => thrownBy(() => written(members, target));

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const weather = { type: 'function', function: { name: 'weather', description: 'of a city', parameters } };
const clock = { type: 'function', function: { name: 'clock' } };
const call = (id: string, name: string, more: JsonObject = {}): JsonObject => ({
  id,
  type: 'function',
  function: { name, arguments: '{"a":1}' },
  ...more,
});
const signed = { extra_content: { google: { thought_signature: 'c2ln' } } };

t.test('keeps instructions apart, wherever they stand', (t) => {
  const { body } = written({
    messages: [
      { role: 'system', content: 'One.' },
      user,
      { role: 'developer', content: [{ type: 'text', text: 'Two.' }] },
      { role: 'user', content: 'ho' },
    ],
  });
  t.same(body['systemInstruction'], { parts: [{ text: 'One.' }, { text: 'Two.' }] });
  t.same(body['contents'], [{ role: 'user', parts: [{ text: 'hi' }, { text: 'ho' }] }], 'turns of one role are one');
  t.end();
});

t.test('opens the conversation with the instructions where a model knows no system', (t) => {
  const { body } = written({ messages: [{ role: 'system', content: 'One.' }, user] }, named('gemma-3-27b-it'));
  t.same(body['contents'], [{ role: 'user', parts: [{ text: 'One.' }, { text: 'hi' }] }]);
  t.equal(body['systemInstruction'], undefined);
  const alone = written({ messages: [{ role: 'system', content: 'One.' }] }).body;
  t.same(alone, {
    contents: [{ role: 'user', parts: [{ text: 'One.' }] }],
    generationConfig: at(alone, 'generationConfig'),
  });
  t.end();
});

t.test('leaves out what says nothing, and refuses a role and an instruction that cannot be', (t) => {
  t.same(contents([user, { role: 'assistant', content: '' }, { role: 'user', content: null }]), [
    { role: 'user', parts: [{ text: 'hi' }] },
  ]);
  t.match(refusal({ messages: [{ role: 'user', content: '' }] }), { status: 400, param: 'messages' });
  t.match(refusal({ messages: [{ role: 'critic', content: 'x' }] }), { param: 'messages[0].role', status: 400 });
  const picture = { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } };
  t.match(refusal({ messages: [{ role: 'system', content: [picture] }] }), { param: 'messages[0].content[0]' });
  t.end();
});

t.test('c28 sends the bytes of a data URL inline', (t) => {
  t.same(parts([{ type: 'image_url', image_url: { url: 'data:image/jpg;base64,iVBORw0KGgo=' } }]), [
    { inlineData: { mimeType: 'image/jpeg', data: 'iVBORw0KGgo=' } },
  ]);
  t.same(parts([{ type: 'file', file: { file_data: 'data:text/plain,a%20b' } }]), [
    { inlineData: { mimeType: 'text/plain', data: Buffer.from('a b').toString('base64') } },
  ]);
  t.same(
    parts([
      { type: 'file', file: { filename: 'a.pdf', file_data: 'JVBERg==' } },
      { type: 'input_audio', input_audio: { data: 'UklGRg==', format: 'mp3' } },
      { type: 'video_url', video_url: { url: 'data:video/mp4;base64,AAAA' } },
    ]),
    [
      { inlineData: { mimeType: 'application/pdf', data: 'JVBERg==' } },
      { inlineData: { mimeType: 'audio/mp3', data: 'UklGRg==' } },
      { inlineData: { mimeType: 'video/mp4', data: 'AAAA' } },
    ],
  );
  t.end();
});

t.test('c29 sends an address as a file, of the kind that its name tells', (t) => {
  const files: [JsonObject, string, string][] = [
    [{ type: 'image_url', image_url: { url: 'https://x.org/a.webp?b=1' } }, 'image/webp', 'https://x.org/a.webp?b=1'],
    [{ type: 'image_url', image_url: 'https://x.org/a' }, 'image/jpeg', 'https://x.org/a'],
    [{ type: 'file', file: { file_data: 'gs://bucket/a' } }, 'application/pdf', 'gs://bucket/a'],
    [{ type: 'file', file: { file_data: 'https://youtu.be/x' } }, 'video/mp4', 'https://youtu.be/x'],
    [{ type: 'video_url', video_url: { url: 'https://x.org/a.MOV' } }, 'video/mov', 'https://x.org/a.MOV'],
  ];
  for (const [part, mimeType, fileUri] of files) t.same(parts([part]), [{ fileData: { mimeType, fileUri } }]);
  const wrong = { type: 'image_url', image_url: { url: 'ftp://x/a.png' } };
  t.match(refusal({ messages: [{ role: 'user', content: [wrong] }] }), {
    status: 400,
    param: 'messages[0].content[0]',
  });
  t.end();
});

t.test('asks for a resolution from version 3 on, passes parts of its own, and refuses what it does not know', (t) => {
  const picture = { type: 'image_url', image_url: { url: 'https://x.org/a.png', detail: 'high' } };
  const file = { fileData: { mimeType: 'image/png', fileUri: 'https://x.org/a.png' } };
  t.same(parts([picture]), [{ ...file, mediaResolution: { level: 'MEDIA_RESOLUTION_HIGH' } }]);
  const older = written({ messages: [{ role: 'user', content: [picture] }] }, named('gemini-2.5-flash'));
  t.same(at(older.body, 'contents', 0, 'parts'), [file]);
  t.same(older.dropped, ['messages.0.content.0.image_url.detail']);
  const own = { ...file, videoMetadata: { fps: 0.2 } };
  t.same(parts([own]), [own]);
  for (const part of [{ type: 'hologram' }, { type: 'file', file: { file_id: 'f' } }]) {
    t.match(refusal({ messages: [{ role: 'user', content: [part] }] }), { code: 'unsupported_parameter' });
  }
  t.end();
});

t.test('c57 names the function of a result by its call, and sends back only ids that Google gave', (t) => {
  const history = contents([
    user,
    {
      role: 'assistant',
      content: null,
      tool_calls: [
        call('zi06h2mp', 'weather', signed),
        call(`call_${'a'.repeat(24)}`, 'clock'),
        call('toolu_1', 'map'),
      ],
    },
    { role: 'tool', tool_call_id: 'toolu_1', content: '' },
    { role: 'tool', tool_call_id: `call_${'a'.repeat(24)}`, name: 'clock', content: '10:15' },
    { role: 'tool', tool_call_id: 'zi06h2mp', content: [{ type: 'text', text: '{"c":14}' }] },
    user,
  ]);
  t.same(at(history, 1, 'parts'), [
    { functionCall: { name: 'weather', args: { a: 1 }, id: 'zi06h2mp' }, thoughtSignature: 'c2ln' },
    { functionCall: { name: 'clock', args: { a: 1 } } },
    { functionCall: { name: 'map', args: { a: 1 } } },
  ]);
  t.same(
    at(history, 2, 'parts'),
    [
      { functionResponse: { name: 'weather', response: { result: '{"c":14}' }, id: 'zi06h2mp' } },
      { functionResponse: { name: 'clock', response: { result: '10:15' } } },
      { functionResponse: { name: 'map', response: { result: '' } } },
      { text: 'hi' },
    ],
    'results come first, in the order of their calls',
  );
  t.end();
});

t.test('sends back an id of another form when its call is signed', (t) => {
  const history = contents([
    user,
    { role: 'assistant', tool_calls: [call('fc-9', 'weather', signed)] },
    { role: 'tool', tool_call_id: 'fc-9', content: 'x' },
  ]);
  t.equal(at(history, 1, 'parts', 0, 'functionCall', 'id'), 'fc-9');
  t.equal(at(history, 2, 'parts', 0, 'functionResponse', 'id'), 'fc-9');
  t.end();
});

t.test('c123 answers the latest call of an id that each turn uses again', (t) => {
  const turn = (name: string): JsonValue[] => [
    { role: 'assistant', tool_calls: [call('call_0', name)] },
    { role: 'tool', tool_call_id: 'call_0', content: name },
  ];
  const history = contents([user, ...turn('weather'), ...turn('clock')]);
  t.equal(at(history, 2, 'parts', 0, 'functionResponse', 'name'), 'weather');
  t.equal(at(history, 4, 'parts', 0, 'functionResponse', 'name'), 'clock');
  t.end();
});

t.test('takes a result that nothing called by its own name, and refuses it without one', (t) => {
  const result = { role: 'tool', tool_call_id: 'lost', content: 'x' };
  t.equal(at(contents([user, { ...result, name: 'clock' }]), 0, 'parts', 0, 'functionResponse', 'name'), 'clock');
  t.match(refusal({ messages: [user, result] }), { status: 400, param: 'messages[1].tool_call_id' });
  t.end();
});

t.test('lets media of a result follow it, and takes arguments that are no object', (t) => {
  const picture = { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } };
  const history = contents([
    user,
    {
      role: 'assistant',
      tool_calls: [{ id: 'a', type: 'function', function: { name: 'look', arguments: '{"a":' } }],
    },
    { role: 'tool', tool_call_id: 'a', content: [{ type: 'text', text: 'seen' }, picture] },
  ]);
  t.same(at(history, 1, 'parts', 0, 'functionCall', 'args'), { invalid_json: '{"a":' });
  t.same(at(history, 2, 'parts'), [
    { functionResponse: { name: 'look', response: { result: 'seen' } } },
    { inlineData: { mimeType: 'image/png', data: 'AA==' } },
  ]);
  t.end();
});

t.test('c108 takes the legacy function fields', (t) => {
  const { body } = written({
    messages: [
      user,
      { role: 'assistant', function_call: { name: 'clock', arguments: '{}' } },
      { role: 'function', name: 'clock', content: '10:15' },
    ],
    functions: [{ name: 'clock' }],
    function_call: { name: 'clock' },
  });
  t.equal(at(body, 'contents', 2, 'parts', 0, 'functionResponse', 'name'), 'clock');
  t.same(body['tools'], [{ functionDeclarations: [{ name: 'clock' }] }]);
  t.same(at(body, 'toolConfig', 'functionCallingConfig'), { mode: 'ANY', allowedFunctionNames: ['clock'] });
  t.end();
});

t.test('c58 stands in for a signature that the client lost, on the first call of each answer', (t) => {
  const messages = [
    user,
    { role: 'assistant', tool_calls: [call('a', 'weather'), call('b', 'clock')] },
    { role: 'tool', tool_call_id: 'a', content: 'x' },
    { role: 'tool', tool_call_id: 'b', content: 'y' },
    { role: 'assistant', tool_calls: [call('c', 'clock', signed)] },
    { role: 'tool', tool_call_id: 'c', content: 'z' },
  ];
  const signatures = (target: AdapterTarget): JsonValue | undefined =>
    [...(contents(messages, target) as JsonObject[])]
      .flatMap((turn) => turn['parts'] as JsonObject[])
      .filter((part) => part['functionCall'] !== undefined)
      .map((part) => part['thoughtSignature'] ?? null);
  t.same(signatures(newest), ['skip_thought_signature_validator', null, 'c2ln']);
  t.same(signatures(named('gemini-2.5-pro')), [null, null, 'c2ln'], 'older models ask for none');
  t.end();
});

t.test('takes the signature of a call as OpenRouter has it', (t) => {
  const detail = { type: 'reasoning.encrypted', id: 'a', data: 'b3Blbg==', format: 'google-gemini-v1' };
  const history = contents([
    user,
    { role: 'assistant', tool_calls: [call('a', 'weather')], reasoning_details: [detail] },
    { role: 'tool', tool_call_id: 'a', content: 'x' },
  ]);
  t.equal(at(history, 1, 'parts', 0, 'thoughtSignature'), 'b3Blbg==');
  t.end();
});

const block = { type: 'thinking', thinking: 'Hm.', signature: 'dGV4dA==', format: 'google-gemini-v1' };

t.test('puts thoughts and the signatures of text back where they were', (t) => {
  const answer = (message: JsonObject): JsonValue | undefined =>
    at(contents([user, { role: 'assistant', ...message }, user]), 1, 'parts');
  const plain = [{ text: 'Hm.', thought: true }, { text: 'yes' }];
  const detail = { type: 'reasoning.text', text: 'Hm.' };
  t.same(answer({ content: 'yes', reasoning_content: 'Hm.' }), plain);
  t.same(answer({ content: 'yes', reasoning: 'Hm.' }), plain);
  t.same(answer({ content: 'yes', reasoning_details: [detail] }), plain);
  t.same(
    answer({ content: 'yes and no', reasoning_content: 'Hm.', thinking_blocks: [{ ...block, content_offset: 3 }] }),
    [{ text: 'Hm.', thought: true }, { text: 'yes', thoughtSignature: 'dGV4dA==' }, { text: ' and no' }],
  );
  t.same(answer({ content: 'yes', thinking_blocks: [block] }), [
    { text: 'Hm.', thought: true },
    { text: 'yes', thoughtSignature: 'dGV4dA==' },
  ]);
  t.same(answer({ content: 'yes', thinking_blocks: [{ ...block, content_offset: 0 }] }), [
    { text: 'Hm.', thought: true, thoughtSignature: 'dGV4dA==' },
    { text: 'yes' },
  ]);
  t.same(answer({ content: '', thinking_blocks: [{ ...block, thinking: '', content_offset: 0 }] }), [
    { text: '', thoughtSignature: 'dGV4dA==' },
  ]);
  t.end();
});

t.test('tells the thoughts of another vendor without its signature, and that this is gone', (t) => {
  const foreign = { type: 'thinking', thinking: 'Ah.', signature: 'Y2xhdWRl' };
  const hidden = { type: 'redacted_thinking', data: 'x' };
  const message = { role: 'assistant', content: 'yes', thinking_blocks: [foreign, hidden] };
  const edit = written({ messages: [user, message, user] });
  t.same(at(edit.body, 'contents', 1, 'parts'), [{ text: 'Ah.', thought: true }, { text: 'yes' }]);
  t.same(edit.dropped, ['messages.1.thinking_blocks']);
  const oldest = written(
    { messages: [user, { role: 'assistant', content: 'yes', reasoning_content: 'Ah.' }, user] },
    named('gemini-2.0-flash'),
  );
  t.same(at(oldest.body, 'contents', 1, 'parts'), [{ text: 'yes' }], 'a model that does not think is told none');
  t.same(oldest.dropped, ['messages.1.reasoning_content']);
  t.end();
});

t.test('declares functions by JSON schema from 2.5 on, and by the subset of OpenAPI before', (t) => {
  t.same(written({ tools: [weather, clock] }).body['tools'], [
    {
      functionDeclarations: [
        { name: 'weather', description: 'of a city', parametersJsonSchema: parameters },
        { name: 'clock' },
      ],
    },
  ]);
  const empty = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } };
  t.same(written({ tools: [weather, empty] }, named('gemini-2.0-flash')).body['tools'], [
    {
      functionDeclarations: [
        {
          name: 'weather',
          description: 'of a city',
          parameters: { type: 'OBJECT', properties: { city: { type: 'STRING' } }, required: ['city'] },
        },
        { name: 'f' },
      ],
    },
  ]);
  t.end();
});

t.test('c39 leaves out an empty list of tools, and the choice with it', (t) => {
  const { body, dropped } = written({ tools: [], tool_choice: 'auto' });
  t.equal(body['tools'], undefined);
  t.equal(body['toolConfig'], undefined);
  t.same(dropped, []);
  t.end();
});

const mode = (members: JsonObject, target?: AdapterTarget): JsonValue | undefined =>
  at(written({ tools: [weather, clock], ...members }, target).body, 'toolConfig', 'functionCallingConfig');
const allowed = (word: string): JsonObject => ({
  tool_choice: { type: 'allowed_tools', allowed_tools: { mode: word, tools: [clock] } },
});

t.test('c71 says each choice in its own word', (t) => {
  t.equal(mode({}), undefined);
  t.same(mode({ tool_choice: 'auto' }), { mode: 'AUTO' });
  t.same(mode({ tool_choice: 'none' }), { mode: 'NONE' });
  t.same(mode({ tool_choice: 'required' }), { mode: 'ANY' });
  t.same(mode({ tool_choice: clock }), { mode: 'ANY', allowedFunctionNames: ['clock'] });
  t.match(refusal({ tools: [clock], tool_choice: { type: 'custom', custom: { name: 'c' } } }), {
    param: 'tool_choice',
  });
  t.end();
});

t.test('c74 narrows the choice to the allowed tools', (t) => {
  t.same(mode(allowed('required')), { mode: 'ANY', allowedFunctionNames: ['clock'] });
  t.same(mode(allowed('auto')), { mode: 'VALIDATED', allowedFunctionNames: ['clock'] });
  const older = written({ tools: [weather, clock], ...allowed('auto') }, named('gemini-2.0-flash')).body;
  t.same(older['tools'], [{ functionDeclarations: [{ name: 'clock' }] }], 'older models are not offered the others');
  t.same(at(older, 'toolConfig', 'functionCallingConfig'), { mode: 'AUTO' });
  t.end();
});

t.test('has the calls of strict tools checked', (t) => {
  const strict = { type: 'function', function: { name: 'weather', strict: true } };
  t.same(mode({ tools: [strict] }), { mode: 'VALIDATED' });
  t.same(mode({ tools: [strict], tool_choice: 'required' }), { mode: 'ANY' }, 'a forced call is checked anyway');
  const older = written({ tools: [strict] }, named('gemini-2.0-flash'));
  t.same(older.dropped, ['tools.0.function.strict']);
  t.equal(older.body['toolConfig'], undefined);
  t.end();
});

t.test('searches the web, beside functions where the model can', (t) => {
  const search = { web_search_options: { user_location: { type: 'approximate' } } };
  const alone = written(search);
  t.same(alone.body['tools'], [{ googleSearch: {} }]);
  t.same(alone.dropped, ['web_search_options.user_location']);
  const both = written({ ...search, tools: [clock] }).body;
  t.same(both['tools'], [{ googleSearch: {} }, { functionDeclarations: [{ name: 'clock' }] }]);
  t.same(both['toolConfig'], { includeServerSideToolInvocations: true });
  t.equal(written({ ...search, tools: [clock] }, newest, vertex).body['toolConfig'], undefined);
  const older = refusal({ ...search, tools: [clock] }, named('gemini-2.5-flash'));
  t.match(older, { status: 400, param: 'web_search_options' });
  t.end();
});

t.test('passes tools of its own and refuses those of others', (t) => {
  t.same(written({ tools: [{ codeExecution: {} }] }).body['tools'], [{ codeExecution: {} }]);
  for (const tool of [{ type: 'custom', custom: { name: 'c' } }, { type: 'web_search' }]) {
    t.match(refusal({ tools: [tool] }), { code: 'unsupported_parameter', param: 'tools[0]' });
  }
  t.end();
});

const schema = { type: 'object', properties: { n: { type: ['integer', 'null'] } } };
const format = { response_format: { type: 'json_schema', json_schema: { name: 's', strict: true, schema } } };

t.test('asks for JSON, by a schema in the form that the model knows', (t) => {
  t.match(config({ response_format: { type: 'json_object' } }), { responseMimeType: 'application/json' });
  t.match(config(format), { responseMimeType: 'application/json', responseJsonSchema: schema });
  t.match(config(format, named('gemini-2.0-flash')), {
    responseMimeType: 'application/json',
    responseSchema: { type: 'OBJECT', properties: { n: { type: 'INTEGER', nullable: true } } },
  });
  t.equal(at(config({ response_format: { type: 'text' } }), 'responseMimeType'), undefined);
  t.end();
});

t.test('asks for JSON in words where a form cannot stand beside tools', (t) => {
  t.match(config({ ...format, tools: [clock] }), { responseJsonSchema: schema }, 'it can from version 3 on');
  const older = written({ ...format, tools: [clock] }, named('gemini-2.5-flash'));
  t.equal(at(older.body, 'generationConfig', 'responseMimeType'), undefined);
  t.match(at(older.body, 'systemInstruction', 'parts', 0, 'text'), /JSON.*"integer"/s);
  t.same(older.dropped, ['response_format(json_schema->instruction)']);
  const searching = { response_format: { type: 'json_object' }, web_search_options: {} };
  t.same(written(searching, named('gemini-2.5-pro')).dropped, ['response_format(json_object->instruction)']);
  t.end();
});

t.test('sends every knob under its own name', (t) => {
  const knobs = {
    max_completion_tokens: 9,
    max_tokens: 5,
    temperature: 2,
    top_p: 0.5,
    top_k: 3,
    seed: 7,
    presence_penalty: -1,
    frequency_penalty: 1,
    n: 2,
    stop: 'END',
    logprobs: true,
    top_logprobs: 4,
  };
  t.same(config(knobs, named('gemini-2.0-flash')), {
    maxOutputTokens: 9,
    temperature: 2,
    topP: 0.5,
    topK: 3,
    seed: 7,
    presencePenalty: -1,
    frequencyPenalty: 1,
    candidateCount: 2,
    stopSequences: ['END'],
    responseLogprobs: true,
    logprobs: 4,
  });
  t.end();
});

t.test('c38 takes null and defaults for absent', (t) => {
  const nothing = {
    temperature: null,
    tools: null,
    stop: null,
    n: 1,
    top_logprobs: 0,
    logprobs: false,
    modalities: ['text'],
  };
  const edit = written({ ...nothing, tool_choice: null, response_format: null }, named('gemini-2.0-flash'));
  t.same(edit, { body: { contents: [{ role: 'user', parts: [{ text: 'hi' }] }] }, dropped: [] });
  t.end();
});

t.test('reports what it cuts', (t) => {
  const edit = written({ max_tokens: 100_000, stop: ['a', 'b', '', 'c', 'd', 'e', 'f'] }, gemini('gemini-next'));
  t.match(edit.body['generationConfig'], { maxOutputTokens: 65_536, stopSequences: ['a', 'b', 'c', 'd', 'e'] });
  t.same(edit.dropped, ['max_tokens(100000->65536)', 'stop(6->5)']);
  t.match(config({ max_tokens: 100_000 }), { maxOutputTokens: 100_000 }, 'nothing is known of the model');
  t.end();
});

t.test('paints where that is asked for, and does not speak', (t) => {
  t.match(config({ modalities: ['text', 'image'] }), { responseModalities: ['TEXT', 'IMAGE'] });
  t.match(refusal({ modalities: ['text', 'audio'] }), { code: 'unsupported_parameter', param: 'modalities' });
  t.end();
});

const thinking = (effort: string | null, target: AdapterTarget): JsonValue | undefined =>
  at(config({ reasoning_effort: effort }, target), 'thinkingConfig');
const reported = (effort: string, target: AdapterTarget): readonly string[] =>
  written({ reasoning_effort: effort }, target).dropped;

t.test('turns an effort into a budget on 2.5', (t) => {
  const flash = named('gemini-2.5-flash');
  t.same(thinking('none', flash), { thinkingBudget: 0 }, 'thoughts may not be asked for where there are none');
  t.same(thinking('minimal', flash), { thinkingBudget: 1310, includeThoughts: true });
  t.same(thinking('low', flash), { thinkingBudget: 6553, includeThoughts: true });
  t.same(thinking('medium', flash), { thinkingBudget: 19_660, includeThoughts: true });
  t.same(thinking('high', flash), { thinkingBudget: 24_576, includeThoughts: true }, 'not more than it takes');
  t.same(thinking('max', named('gemini-2.5-pro')), { thinkingBudget: 32_768, includeThoughts: true });
  t.same(thinking(null, flash), { includeThoughts: true });
  t.equal(thinking(null, named('gemini-2.5-flash-lite')), undefined, 'it does not think unless told to');
  t.same(thinking('none', named('gemini-2.5-pro')), { thinkingBudget: 512 }, 'it cannot stop');
  t.same(reported('none', named('gemini-2.5-pro')), ['reasoning_effort(none->minimal)']);
  t.end();
});

t.test('turns an effort into a level from version 3 on', (t) => {
  t.same(thinking('low', newest), { thinkingLevel: 'low', includeThoughts: true });
  t.same(thinking('none', newest), { thinkingLevel: 'low' });
  t.same(thinking(null, newest), { includeThoughts: true });
  t.same(reported('none', newest), ['reasoning_effort(none->low)']);
  t.same(reported('xhigh', newest), ['reasoning_effort(xhigh->high)']);
  const flash = gemini('gemini-3.6-flash', { thinking: 'level', efforts: ['minimal', 'low', 'medium', 'high'] });
  t.same(thinking('minimal', flash), { thinkingLevel: 'minimal', includeThoughts: true });
  const pro = gemini('gemini-3-pro', { thinking: 'level', efforts: ['low', 'high'] });
  t.same(thinking('medium', pro), { thinkingLevel: 'high', includeThoughts: true });
  t.same(reported('medium', pro), ['reasoning_effort(medium->high)']);
  t.match(refusal({ reasoning_effort: 'huge' }), { status: 400, param: 'reasoning_effort' });
  t.end();
});

t.test('does not ask a model to think that cannot, and lets a configuration of the caller win', (t) => {
  const oldest = named('gemini-2.0-flash');
  t.equal(thinking('high', oldest), undefined);
  t.same(reported('high', oldest), ['reasoning_effort']);
  t.same(reported('none', oldest), []);
  const own = { generationConfig: { thinkingConfig: { thinkingBudget: 99 }, mediaResolution: 'MEDIA_RESOLUTION_LOW' } };
  const edit = written({ ...own, reasoning_effort: 'low', temperature: 1 });
  t.same(edit.body['generationConfig'], { temperature: 1, ...own.generationConfig });
  t.same(edit.dropped, ['reasoning_effort']);
  t.end();
});

t.test('passes fields of its own and reports those of nobody', (t) => {
  const own = {
    safetySettings: [{ category: 'x', threshold: 'y' }],
    cachedContent: 'cachedContents/1',
    labels: { a: 'b' },
  };
  const edit = written({ ...own, unheard_of: 1, logit_bias: { 1: 2 }, metadata: { a: 'b' } });
  t.match(edit.body, own);
  t.same(edit.dropped, ['unheard_of', 'logit_bias']);
  const retrieval = { toolConfig: { retrievalConfig: { languageCode: 'no' } } };
  t.same(written({ ...retrieval, tools: [clock], tool_choice: 'none' }).body['toolConfig'], {
    functionCallingConfig: { mode: 'NONE' },
    ...retrieval.toolConfig,
  });
  t.end();
});

t.test('asks for a tier of service in the way of each surface', (t) => {
  t.equal(written({ service_tier: 'flex' }).body['serviceTier'], 'flex');
  t.equal(written({ service_tier: 'default' }).body['serviceTier'], 'standard');
  t.equal(written({ service_tier: 'auto' }).body['serviceTier'], undefined);
  t.same(written({ service_tier: 'fast' }).dropped, ['service_tier']);
  const there = written({ service_tier: 'priority' }, newest, vertex);
  t.equal(there.body['serviceTier'], undefined);
  t.same(there.headers, { 'x-vertex-ai-llm-shared-request-type': 'priority' });
  t.equal(written({ service_tier: 'default' }, newest, vertex).headers, undefined);
  t.end();
});

t.test('drops marks of a cache that it has no use for', (t) => {
  const mark = { cache_control: { type: 'ephemeral' } };
  const edit = written({
    messages: [{ role: 'user', content: [{ type: 'text', text: 'a', ...mark }], ...mark }],
    tools: [{ ...clock, ...mark }],
  });
  t.same(edit.dropped, ['messages.0.cache_control', 'messages.0.content.0.cache_control', 'tools.0.cache_control']);
  t.notMatch(JSON.stringify(edit.body), /cache_control/);
  t.end();
});

t.test('makes a request or a clear refusal of any odd body, and leaves the body alone', (t) => {
  const whole = readFileSync(join(import.meta.dirname, '../fixtures/providers/google/request.json'), 'utf8');
  const models = ['gemini-next', 'gemini-2.5-pro', 'gemini-2.0-flash', 'gemma-3', ''];
  const random = seededRandom(7);
  let refused = 0;
  for (let round = 0; round < 2000; round += 1) {
    const body = JSON.parse(whole) as JsonObject;
    if (round % 2 === 0) {
      const parts = { properties: { a: { $ref: '#/$defs/a' }, b: { anyOf: [{ type: 'null' }] } } };
      const all = { allOf: [parts], $defs: { a: { const: 'a' } } };
      body['response_format'] = { type: 'json_schema', json_schema: { name: 's', schema: all } };
    }
    spoil(body, random);
    const before = JSON.stringify(body);
    const error = thrownBy(() =>
      written(body, named(models[round % models.length] ?? ''), round % 3 === 0 ? vertex : google),
    );
    if (error !== undefined) refused += 1;
    if (error !== undefined && !(error instanceof GatewayError && error.status === 400)) t.fail(before);
    if (JSON.stringify(body) !== before) t.fail(`changed: ${before}`);
  }
  t.ok(refused > 50 && refused < 1500, `${refused} were refused`);
  t.end();
});

t.test('says nothing of what loses nothing', (t) => {
  const picture = { type: 'image_url', image_url: { url: 'https://x.org/a.png', detail: 'auto' } };
  const history = [
    { role: 'user', content: [picture] },
    { role: 'assistant', tool_calls: [call(`call_${'b'.repeat(24)}`, 'clock', signed)] },
    { role: 'tool', name: 'clock', tool_call_id: `call_${'b'.repeat(24)}`, content: '10:15' },
  ];
  const edit = written({ messages: history }, named('gemini-2.5-flash'));
  t.same(edit.dropped, []);
  t.same(at(edit.body, 'contents', 1, 'parts', 0), {
    functionCall: { name: 'clock', args: { a: 1 } },
    thoughtSignature: 'c2ln',
  });
  t.end();
});

t.test('tells what was refused before, and that a voice is lost', (t) => {
  const edit = written({
    messages: [user, { role: 'assistant', content: null, refusal: 'No.', audio: { id: 'a' } }, user],
  });
  t.same(at(edit.body, 'contents', 1, 'parts'), [{ text: 'No.' }]);
  t.same(edit.dropped, ['messages.1.audio']);
  t.end();
});

t.test('takes the signature of no other call', (t) => {
  const detail = { type: 'reasoning.encrypted', id: 'other', data: 'b3Blbg==', format: 'google-gemini-v1' };
  const message = { role: 'assistant', tool_calls: [call('a', 'clock')], reasoning_details: [detail] };
  t.equal(at(contents([user, message]), 1, 'parts', 0, 'thoughtSignature'), 'skip_thought_signature_validator');
  t.end();
});

t.test('signs several texts, also where their places are out of order', (t) => {
  const ends = [3, 2, 5].map((end) => ({ ...block, thinking: `${end}`, content_offset: end }));
  const message = { role: 'assistant', content: 'abcdefg', thinking_blocks: ends };
  const sign = { thoughtSignature: 'dGV4dA==' };
  t.same(at(contents([user, message, user]), 1, 'parts'), [
    { text: '3', thought: true },
    { text: 'abc', ...sign },
    { text: '2', thought: true, ...sign },
    { text: '5', thought: true },
    { text: 'de', ...sign },
    { text: 'fg' },
  ]);
  t.end();
});

t.test(
  'asks for log probabilities by their number alone, and for tools of both kinds only where that is known',
  (t) => {
    t.match(config({ top_logprobs: 2 }), { responseLogprobs: true, logprobs: 2 });
    const tools = [{ codeExecution: {} }, clock];
    t.equal(written({ tools }, named('gemini-2.5-pro')).body['toolConfig'], undefined);
    t.match(written({ tools }).body['toolConfig'], { includeServerSideToolInvocations: true });
    t.end();
  },
);
