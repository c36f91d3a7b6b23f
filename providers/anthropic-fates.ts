/** The fate of every Chat Completions parameter at Anthropic, and the request fields of its own. Spec: fidelity 10, AN. */
import { openAiFates, type FateTable } from './openai-fates.ts';

export const anthropicFates = {
  ...openAiFates,
  'messages.name': 'dropped',
  'messages.image': 'mapped',
  'messages.image_detail': 'dropped',
  'messages.input_audio': 'refused',
  'messages.file_id': 'refused',
  'messages.reasoning_history': 'mapped',
  'tools.strict': 'by-model',
  'tools.custom': 'refused',
  'tool_choice.required': 'by-model',
  'tool_choice.named': 'by-model',
  'tool_choice.allowed_tools': 'emulated',
  response_format: 'emulated',
  'response_format.json_schema': 'by-model',
  temperature: 'by-model',
  top_p: 'by-model',
  n: 'refused',
  seed: 'dropped',
  presence_penalty: 'dropped',
  frequency_penalty: 'dropped',
  logit_bias: 'dropped',
  logprobs: 'dropped',
  top_logprobs: 'dropped',
  metadata: 'consumed',
  store: 'dropped',
  reasoning_effort: 'mapped',
  verbosity: 'dropped',
  prediction: 'dropped',
  modalities: 'refused',
  audio: 'refused',
  web_search_options: 'emulated',
  prompt_cache_key: 'dropped',
  prompt_cache_options: 'dropped',
  prompt_cache_retention: 'dropped',
  moderation: 'refused',
  functions: 'emulated',
  function_call: 'emulated',
  top_k: 'by-model',
  thinking: 'mapped',
  '*': 'dropped',
} as const satisfies FateTable;

/**
 * Members of the Messages request that a caller may send as they are. Those with rules of their own are not in here, nor
 * those that name something of the operator's (a workspace, a profile) or that cost more than the catalogue says (a speed,
 * a place).
 */
export const ownFields: ReadonlySet<string> = new Set([
  'cache_control',
  'container',
  'context_management',
  'diagnostics',
  'fallbacks',
  'mcp_servers',
]);
