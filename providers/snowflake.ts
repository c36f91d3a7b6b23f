/**
 * Snowflake Cortex. Empty where others say nothing: id, finish reason, refusal, function call. A stream may end without
 * any finish reason. Reasoning is asked for by `reasoning` and goes back signed, as `reasoning_details`.
 */
import { createOpenAiCompatible, type OpenAiCompatibleOptions } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

const createOptions = ({ account }: Readonly<Record<string, string>>): OpenAiCompatibleOptions => ({
  id: 'snowflake',
  name: 'Snowflake Cortex',
  baseUrl: `https://${account ?? 'account'}.snowflakecomputing.com/api/v2/cortex/v1`,
  settings: {
    account: {
      description: 'the account identifier before .snowflakecomputing.com',
      isRequired: true,
      pattern: /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/i,
    },
  },
  configure: createOptions,
  tokenLimit: 'either',
  fates: { ...hostedFates, 'messages.reasoning_history': 'mapped', reasoning_effort: 'mapped' },
  quirks: { nestsEffort: true, reasoningHistory: 'details' },
});

export const snowflake = createOpenAiCompatible(createOptions({}));
