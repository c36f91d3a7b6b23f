/** `generationConfig`: length, sampling, log probabilities, the form of the answer. Spec: fidelity 5.1. */
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';
import type { GeminiDraft } from './google-draft.ts';
import { toOpenApiSchema } from './google-schema.ts';
import { objectOf, textOf } from './json-values.ts';
import { refuse } from './openai-draft.ts';

const names: readonly (readonly [string, string])[] = [
  ['temperature', 'temperature'],
  ['top_p', 'topP'],
  ['top_k', 'topK'],
  ['seed', 'seed'],
  ['presence_penalty', 'presencePenalty'],
  ['frequency_penalty', 'frequencyPenalty'],
];
const maximumStops = 5;

function writeTokenLimit(draft: GeminiDraft): void {
  const name = draft.value('max_completion_tokens') === undefined ? 'max_tokens' : 'max_completion_tokens';
  const asked = draft.value(name);
  if (typeof asked !== 'number') return;
  const known = draft.target.model?.maxOutputTokens ?? 0;
  const limit = known > 0 ? known : asked;
  if (asked > limit) draft.drop(`${name}(${asked}->${limit})`);
  draft.generationConfig.maxOutputTokens = Math.min(asked, limit);
}

function writeSampling(draft: GeminiDraft): void {
  for (const [theirs, ours] of names) {
    const value = draft.value(theirs);
    if (value !== undefined) draft.generationConfig[ours] = value;
  }
  const choices = draft.value('n');
  if (choices !== undefined && choices !== 1) draft.generationConfig.candidateCount = choices;
}

function writeStop(draft: GeminiDraft): void {
  const stop = draft.value('stop');
  const asked = (Array.isArray(stop) ? stop : stop === undefined ? [] : [stop]).filter((text) => text !== '');
  if (asked.length > maximumStops) draft.drop(`stop(${asked.length}->${maximumStops})`);
  if (asked.length > 0) draft.generationConfig.stopSequences = asked.slice(0, maximumStops);
}

function writeLogprobs(draft: GeminiDraft): void {
  const top = draft.value('top_logprobs');
  const hasTop = typeof top === 'number' && top > 0;
  if (draft.value('logprobs') === true || hasTop) draft.generationConfig.responseLogprobs = true;
  if (hasTop) draft.generationConfig.logprobs = top;
}

/** Text alone is what every model gives; the newer ones also paint. */
function writeModalities(draft: GeminiDraft): void {
  const asked = draft.value('modalities');
  if (!Array.isArray(asked) || asked.every((modality) => modality === 'text')) return;
  if (asked.some((modality) => modality !== 'text' && modality !== 'image')) refuse('modalities');
  draft.generationConfig.responseModalities = asked.map((modality) => textOf(modality).toUpperCase());
}

const jsonInstruction = 'Unless you call a function, answer with a single valid JSON value and nothing else.';

/** Models before version 3 refuse a form of the answer beside tools; there it can only be asked for in words. */
function askInWords(draft: GeminiDraft, format: string, schema: JsonObject | null): void {
  const form = schema === null ? '' : ` It must match this JSON schema: ${JSON.stringify(schema)}`;
  draft.system.push({ text: `${jsonInstruction}${form}` });
  draft.drop(`response_format(${format}->instruction)`);
}

function writeFormat(draft: GeminiDraft): void {
  const format = objectOf(draft.value('response_format'));
  if (format.type !== 'json_object' && format.type !== 'json_schema') return;
  const declared = objectOf(format.json_schema).schema;
  const schema = format.type === 'json_schema' && isJsonObject(declared) ? declared : null;
  if (draft.body.tools !== undefined && !draft.isThirdGeneration) {
    askInWords(draft, textOf(format.type), schema);
    return;
  }
  draft.generationConfig.responseMimeType = 'application/json';
  if (schema === null) return;
  if (draft.abilities.jsonSchema) draft.generationConfig.responseJsonSchema = schema;
  else draft.generationConfig.responseSchema = toOpenApiSchema(schema, 'response_format.json_schema.schema');
}

export function writeGeneration(draft: GeminiDraft): void {
  writeTokenLimit(draft);
  writeSampling(draft);
  writeStop(draft);
  writeLogprobs(draft);
  writeModalities(draft);
  writeFormat(draft);
}
