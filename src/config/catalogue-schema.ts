/** What `models.yaml` may say, and a price wherever one is written. */
import { type Static, Type } from 'typebox';
import { closed, flag, listOf, number, text, withUnit } from './schema-fields.ts';
import * as units from './units.ts';

const listPrice = (description: string) => number(units.listPriceForm, units.parseListPrice, description);

const rates = {
  in: listPrice('Fresh input.'),
  cached_in: Type.Optional(listPrice('Input read from the cache. Default: as input.')),
  cache_write: Type.Optional(listPrice('Input written to the cache. Default: as input.')),
  long_cache_write: Type.Optional(listPrice('Input written to the cache for an hour. Default: as cache_write.')),
  audio_in: Type.Optional(listPrice('Audio that it hears. Default: as input.')),
  out: listPrice('Output.'),
  reasoning: Type.Optional(listPrice('Reasoning. Default: as output.')),
  audio_out: Type.Optional(listPrice('Audio that it speaks. Default: as output.')),
};

export const ModelPrice = Type.Object(
  {
    ...rates,
    above: Type.Optional(
      Type.Object(
        { prompt: number(units.tokensForm, units.parseTokens, 'Longer prompts than this many tokens.'), ...rates },
        { ...closed, description: 'Rates of the whole request when its prompt is longer.' },
      ),
    ),
  },
  { ...closed, description: 'USD per million tokens.' },
);

const date = (description: string) => withUnit(units.dayForm, units.parseDay, description);
const parameterList = listOf('parameter name', 'Request parameters that the model accepts.');
const modalityNames = ['text', 'image', 'audio', 'video', 'file', 'embedding'] as const;
const modalities = (description: string) =>
  Type.Array(Type.Enum([...modalityNames], { errorMessage: `expected one of ${modalityNames.join(', ')}` }), {
    minItems: 1,
    errorMessage: `expected a list of ${modalityNames.join(', ')}`,
    description,
  });

const oneOf = <const T extends readonly string[]>(names: T, description: string) =>
  Type.Enum([...names] as T[number][], { errorMessage: `expected one of ${names.join(', ')}`, description });

const Abilities = Type.Object(
  {
    thinking: Type.Optional(oneOf(['none', 'budget', 'adaptive', 'level'], 'How its thinking is steered.')),
    can_stop_thinking: Type.Optional(flag('False: it always thinks.')),
    thinks_by_default: Type.Optional(flag('It thinks unless told not to.')),
    efforts: Type.Optional(listOf('effort', 'Values of reasoning_effort that it knows by their own names.')),
    sampling: Type.Optional(oneOf(['both', 'one', 'none'], 'Whether temperature and top_p may be set.')),
    top_k: Type.Optional(flag('Takes top_k.')),
    json_schema: Type.Optional(flag('Answers by a schema natively.')),
    strict_tools: Type.Optional(flag('Takes strict tools.')),
    forced_tool: Type.Optional(oneOf(['accepted', 'unless-thinking', 'never'], 'Whether a tool may be forced.')),
    inline_system: Type.Optional(flag('Takes system messages in the middle of a conversation.')),
    prefill: Type.Optional(flag('Goes on from a last message of the assistant.')),
    reasoning_history: Type.Optional(
      oneOf(['strip', 'content', 'blocks', 'details'], "What of an earlier answer's reasoning is sent back."),
    ),
    parse_think: Type.Optional(flag('Its text begins with <think>, to be told apart from the answer.')),
  },
  { ...closed, description: 'What a model can do beyond its parameters.' },
);
export type AbilitiesEntry = Static<typeof Abilities>;
export type PriceEntry = Static<typeof ModelPrice>;

const CatalogueEntry = Type.Object(
  {
    name: text('expected text', 'For people.'),
    context: number(units.tokensForm, units.parseTokens, 'Context window.'),
    max_output: number(units.tokensForm, units.parseTokens, 'Longest answer.'),
    input: modalities('What it reads.'),
    output: modalities('What it gives.'),
    parameters: Type.Union([Type.String({ minLength: 1 }), parameterList], {
      errorMessage: 'expected the name of a parameter set or a list of parameters',
      description: 'A set of the section parameters, or a list.',
    }),
    abilities: Type.Optional(
      Type.Union([Type.String({ minLength: 1 }), Abilities], {
        errorMessage: 'expected the name of a set of abilities or a mapping of abilities',
        description: 'A set of the section abilities, or a mapping.',
      }),
    ),
    price: Type.Optional(ModelPrice),
    created: date('Constant per model; clients sort by it.'),
  },
  { ...closed },
);

export const CatalogueFile = Type.Object(
  {
    as_of: Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}$' }), date('When its prices were read.'), {
      ...closed,
      description: 'Per provider, the day for which its prices are known to be right.',
    }),
    parameters: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z][a-z0-9_]*$' }), parameterList, {
        ...closed,
        description: 'Named sets of parameters.',
      }),
    ),
    abilities: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z][a-z0-9_]*$' }), Abilities, {
        ...closed,
        description: 'Named sets of abilities.',
      }),
    ),
    models: Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}/\\S{1,200}$' }), CatalogueEntry, {
      ...closed,
      description: 'By provider/upstream-model.',
    }),
  },
  { ...closed, title: 'Tollgate: models.yaml' },
);
export type CatalogueFile = Static<typeof CatalogueFile>;
