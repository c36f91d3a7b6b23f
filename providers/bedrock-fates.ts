/** The fate of every Chat Completions parameter at Bedrock, and the request fields of Converse. Spec: fidelity 10, BR. */
import { anthropicFates } from './anthropic-fates.ts';
import type { FateTable } from './openai-fates.ts';

export const bedrockFates = {
  ...anthropicFates,
  'messages.image': 'emulated',
  tool_choice: 'emulated',
  'tool_choice.required': 'mapped',
  'tool_choice.named': 'mapped',
  parallel_tool_calls: 'dropped',
  temperature: 'mapped',
  top_p: 'mapped',
  user: 'dropped',
  safety_identifier: 'dropped',
  reasoning_effort: 'by-model',
  web_search_options: 'refused',
  top_k: 'mapped',
} as const satisfies FateTable;

/** Members of a Converse request that a caller may send as they are. */
export const ownFields: ReadonlySet<string> = new Set([
  'additionalModelRequestFields',
  'additionalModelResponseFieldPaths',
  'guardrailConfig',
  'inferenceConfig',
  'outputConfig',
  'performanceConfig',
  'promptVariables',
  'requestMetadata',
  'serviceTier',
  'toolConfig',
]);
