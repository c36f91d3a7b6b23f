/** Alibaba Cloud, DashScope in its compatible mode. Later tool deltas repeat an empty id and the type. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const alibaba = createOpenAiCompatible({
  id: 'alibaba',
  name: 'Alibaba Cloud',
  baseUrl: 'https://dashscope-intl.aliyuncs.com/compatible-mode/v1',
  fates: { ...hostedFates, 'tool_choice.required': 'dropped' },
});
