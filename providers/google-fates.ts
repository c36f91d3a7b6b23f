/** The fate of every Chat Completions parameter at Gemini, and the request fields of its own. Spec: fidelity 10, GE. */
import { openAiFates, type FateTable } from './openai-fates.ts';

export const googleFates = {
  ...openAiFates,
  'messages.name': 'dropped',
  'messages.image': 'mapped',
  'messages.image_detail': 'by-model',
  'messages.input_audio': 'mapped',
  'messages.file_id': 'refused',
  'messages.cache_marks': 'dropped',
  'messages.reasoning_history': 'mapped',
  'tools.custom': 'refused',
  parallel_tool_calls: 'dropped',
  logit_bias: 'dropped',
  user: 'dropped',
  safety_identifier: 'dropped',
  metadata: 'consumed',
  store: 'dropped',
  service_tier: 'by-model',
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
  '*': 'dropped',
} as const satisfies FateTable;

/** Members of the request that a caller may send as they are, in either spelling. Those with rules of their own are not in here. */
export const ownFields: ReadonlySet<string> = new Set([
  'safetySettings',
  'safety_settings',
  'cachedContent',
  'cached_content',
  'labels',
  'modelArmorConfig',
]);
