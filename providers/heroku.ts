/** Heroku's managed inference: Claude and others behind a clean chat shape. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const heroku = createOpenAiCompatible({
  id: 'heroku',
  name: 'Heroku',
  baseUrl: 'https://us.inference.heroku.com/v1',
  fates: hostedFates,
});
