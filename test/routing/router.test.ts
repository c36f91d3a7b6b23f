import { assert, constantFrom, property, string, stringMatching, array } from 'fast-check';
import t from 'tap';
import { GatewayError } from '../../src/contract/errors.ts';
import type { ModelAllowance, ModelSpec, Principal } from '../../src/contract/flow.ts';
import { createRouter, type Router } from '../../src/routing/router.ts';
import { parseObject, thrownBy } from '../support/json-at.ts';

function spec(providerId: string, upstreamModel: string): ModelSpec {
  return {
    id: `${providerId}/${upstreamModel}`,
    providerId,
    upstreamModel,
    name: upstreamModel,
    contextTokens: 128_000,
    maxOutputTokens: 4096,
    inputModalities: ['text'],
    outputModalities: ['text'],
    supportedParameters: [],
    price: null,
    created: 1_750_000_000,
  };
}

const catalogue = [
  spec('north', 'large'),
  spec('north', 'small'),
  spec('south', 'small'),
  spec('south', 'vendor/open-7b'),
  spec('dark', 'secret'),
];

const aliases = {
  quick: ['north/small'],
  best: ['south/vendor/open-7b', 'north/large', 'quick'],
  nested: ['best', 'south/not-in-the-catalogue'],
  half: ['dark/secret', 'north/large'],
  gone: ['dark/secret', 'dark/other', 'no-such-name'],
  self: ['self'],
  left: ['right', 'north/small'],
  right: ['left'],
  bare: ['small'],
};

const router = createRouter({ catalogue, aliases, providerIds: ['north', 'south'] });

const everything: ModelAllowance = '*';

function principal(tierModels: ModelAllowance = everything, keyModels: ModelAllowance = everything): Principal {
  const limits = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };
  return {
    accountId: 'a',
    keyId: 'k',
    tier: { id: 'pro', priceUsd: '49', limits, historyDays: 30, models: tierModels },
    keyLimits: limits,
    keyModels,
    authVersion: { account: 1, key: 1 },
  };
}

const targetsOf = (name: string, who = principal(), by: Router = router): string[] =>
  by.resolve(name, who).targets.map(({ providerId, upstreamModel }) => `${providerId} ${upstreamModel}`);

function notFound(name: string, who = principal(), by: Router = router): GatewayError {
  const error = thrownBy(() => by.resolve(name, who));
  if (!(error instanceof GatewayError)) throw new Error(`${name} was found`);
  return error;
}

t.test('finds a model of the catalogue by its id, and keeps the name that was asked for', (t) => {
  const route = router.resolve('north/small', principal());
  t.equal(route.publicModel, 'north/small');
  t.same(route.targets, [{ providerId: 'north', upstreamModel: 'small', model: catalogue[1] }]);
  t.same(router.resolve('north/small', principal()), route, 'and the second time');
  t.same(targetsOf('south/vendor/open-7b'), ['south vendor/open-7b'], 'with a slash in its name');
  t.end();
});

t.test('finds every provider of a bare name, in the order of the catalogue', (t) => {
  t.same(targetsOf('small'), ['north small', 'south small']);
  t.same(targetsOf('large'), ['north large']);
  t.same(targetsOf('vendor/open-7b'), ['south vendor/open-7b'], 'a slash is not always a provider');
  t.end();
});

t.test('follows aliases in their order, through other aliases', (t) => {
  t.same(targetsOf('quick'), ['north small']);
  t.same(targetsOf('best'), ['south vendor/open-7b', 'north large', 'north small']);
  t.same(targetsOf('nested'), [...targetsOf('best'), 'south not-in-the-catalogue']);
  t.same(targetsOf('bare'), ['north small', 'south small']);
  t.end();
});

t.test('an alias may stand in front of the model that it is named after', (t) => {
  const own = createRouter({
    catalogue,
    aliases: { 'north/large': ['south/small', 'north/large'], quick: ['north/large'] },
    providerIds: ['north', 'south'],
  });
  t.same(targetsOf('north/large', principal(), own), ['south small', 'north large']);
  t.same(targetsOf('quick', principal(), own), ['south small', 'north large'], 'for other aliases as well');
  const listed = own.list(principal()).filter(({ id }) => id === 'north/large');
  t.same(
    listed.map(({ target }) => target.providerId),
    ['south'],
    'and is listed as what it is',
  );
  t.end();
});

t.test('an alias that leads back to itself ends', (t) => {
  t.same(targetsOf('left'), ['north small']);
  t.same(targetsOf('right'), ['north small']);
  t.equal(notFound('self').status, 404);
  t.end();
});

t.test('passes over providers that are off', (t) => {
  t.same(targetsOf('half'), ['north large']);
  for (const name of ['gone', 'dark/secret', 'secret', 'dark/unknown', 'nowhere/x']) {
    t.equal(notFound(name).code, 'model_not_found', name);
  }
  t.notOk(router.list(principal()).some(({ target }) => target.providerId === 'dark'));
  t.end();
});

t.test('passes an upstream model that the catalogue does not know to its provider', (t) => {
  const { targets } = router.resolve('north/brand-new:2030', principal());
  t.same(targets, [{ providerId: 'north', upstreamModel: 'brand-new:2030', model: null }]);
  t.same(targetsOf('south/a/b'), ['south a/b']);
  for (const name of ['north/', '/large', '/', 'north', 'North/large ', 'north/a b', 'north/é', 'north/a\r\nx: y']) {
    t.equal(notFound(name).status, 404, JSON.stringify(name));
  }
  t.same(targetsOf(`north/${'x'.repeat(200)}`).length, 1);
  t.equal(notFound(`north/${'x'.repeat(201)}`).status, 404, 'a name as long as a novel');
  t.end();
});

t.test('never passes a name that is a step in a path: it would lead past the model at the provider', (t) => {
  for (const name of ['south/..', 'south/.']) t.equal(notFound(name, principal()).status, 404, name);
  t.doesNotThrow(() => router.resolve('south/...', principal()));
  t.end();
});

t.test('takes the names of prototypes for names that nobody has', (t) => {
  for (const name of ['toString', 'constructor', '__proto__', 'hasOwnProperty', 'valueOf', '']) {
    const error = notFound(name);
    t.match({ status: error.status, code: error.code, param: error.param }, { status: 404, code: 'model_not_found' });
    t.equal(error.param, null);
    t.same(targetsOf(`north/${name === '' ? 'x' : name}`).length, 1, 'a provider may have such a model all the same');
  }
  t.end();
});

t.test('both the tier and the key must allow a name', (t) => {
  const cases: [tier: ModelAllowance, key: ModelAllowance, allowed: string[], refused: string[]][] = [
    [['quick'], '*', ['quick'], ['north/small', 'small', 'best']],
    ['*', ['quick'], ['quick'], ['north/small', 'best']],
    [['quick', 'best'], ['best', 'nested'], ['best'], ['quick', 'nested']],
    [['north/*'], '*', ['north/large', 'north/new', 'quick', 'half'], ['south/small', 'best', 'small']],
    [['*/small'], '*', ['north/small', 'south/small', 'quick'], ['north/large', 'best']],
    [['north/small'], '*', ['quick', 'north/small'], ['north/small-2', 'north/smal', 'small']],
    [['small'], '*', ['small'], ['north/small', 'bare']],
    [['s*/v*/o*-7b'], '*', ['south/vendor/open-7b', 'vendor/open-7b'], ['south/small']],
    [[], '*', [], ['quick', 'north/small', 'small']],
    ['*', [], [], ['quick', 'north/small']],
    [['*'], ['**'], ['quick', 'small', 'south/new'], []],
  ];
  for (const [tier, key, allowed, refused] of cases) {
    const who = principal(tier, key);
    const shown = JSON.stringify([tier, key]);
    for (const name of allowed) t.doesNotThrow(() => router.resolve(name, who), `${shown} allows ${name}`);
    for (const name of refused) t.equal(notFound(name, who).status, 404, `${shown} refuses ${name}`);
  }
  t.end();
});

t.test('lists what a key may use, aliases first, each name once', (t) => {
  const namesFor = (who: Principal): string[] => router.list(who).map(({ id }) => id);
  const aliasNames = ['quick', 'best', 'nested', 'half', 'left', 'right', 'bare'];
  t.same(namesFor(principal()), [...aliasNames, 'north/large', 'north/small', 'south/small', 'south/vendor/open-7b']);
  t.same(namesFor(principal(['south/*'])), ['south/small', 'south/vendor/open-7b']);
  t.same(namesFor(principal('*', ['quick', 'north/small'])), ['quick', 'left', 'right', 'north/small']);
  t.same(namesFor(principal([])), []);
  for (const { id } of router.list(principal(['north/*']))) {
    t.doesNotThrow(() => router.resolve(id, principal(['north/*'])), id);
  }
  t.end();
});

t.test('suggests the three nearest names, and only such as the key may use', (t) => {
  t.match(notFound('qick').message, /Did you mean quick, \S+, \S+\?$/);
  t.match(notFound('south/smal', principal(['south/small'])).message, /Did you mean south\/small\?$/);
  const who = principal(['south/*']);
  for (const name of ['quick', 'north/large', 'secret', 'best']) {
    t.match(notFound(name, who).message, /Did you mean (south\/small|south\/vendor\/open-7b), south\/\S+\?$/, name);
  }
  t.match(notFound('quick', principal([])).message, 'No model is available to this key.');
  t.notMatch(notFound('secre').message, 'dark', 'nothing of a provider that is off');
  t.end();
});

t.test('says the same for a name that does not exist and for one that is not allowed', (t) => {
  const who = principal(['south/*']);
  const shape = (name: string): string => notFound(name, who).message.replaceAll(`\`${name}\``, '`x`');
  t.equal(shape('quick'), shape('qxick'));
  t.end();
});

t.test('shows a name that cannot exist so that any client can print it', (t) => {
  for (const name of ['😀'.repeat(300), `x${'😀'.repeat(300)}`, 'é'.repeat(5000), 'a\u0000\n\u001b[31m', '`']) {
    const error = notFound(name);
    t.ok(error.message.isWellFormed(), name.slice(0, 5));
    t.ok(error.message.length < 500);
    t.same(parseObject(JSON.stringify(error.toBody())), error.toBody());
  }
  t.end();
});

t.test('matches a pattern as a regular expression would', (t) => {
  const word = stringMatching(/^[ab/]{0,6}$/);
  const pattern = array(constantFrom('a', 'b', '/', '*', '**', 'ab'), { maxLength: 6 }).map((parts) => parts.join(''));
  const allows = (allowance: string, name: string): boolean =>
    thrownBy(() =>
      createRouter({ catalogue: [], aliases: { [name]: ['p/x', 'q/y'] }, providerIds: ['p', 'q'] }).resolve(
        name,
        principal([allowance]),
      ),
    ) === undefined;
  // What stands before a star and what stands behind it may not share a letter.
  const overlapping: [string, string][] = [
    ['a*a', 'a'],
    ['ab*b', 'ab'],
    ['a*b*b', 'ab'],
    ['*a*a', 'a'],
    ['a*a', 'aa'],
  ];
  t.doesNotThrow(() =>
    assert(
      property(pattern, word, (allowance, name) => {
        const expected = new RegExp(`^${allowance.replaceAll(/\*+/g, '.*')}$`, 's').test(name);
        return allows(allowance, name) === expected;
      }),
      { numRuns: 1000, examples: overlapping },
    ),
  );
  t.end();
});

t.test('answers any name with a route or a 404', (t) => {
  t.doesNotThrow(() =>
    assert(
      property(string({ unit: 'binary' }), (name) => {
        const error = thrownBy(() => router.resolve(name, principal()));
        return error === undefined || (error instanceof GatewayError && error.status === 404);
      }),
    ),
  );
  t.end();
});
