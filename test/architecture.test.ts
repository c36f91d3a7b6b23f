/**
 * The shape of the house, checked by machine. Each rule is a function from sources to findings, so that the second half
 * of this file can plant a violation of every rule and see it found.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import t from 'tap';

type Source = { path: string; text: string };
type Rule = (sources: readonly Source[], registryKeys: readonly string[]) => string[];

const ranks: Record<string, number> = {
  contract: 0,
  config: 1,
  platform: 2,
  store: 3,
  auth: 4,
  admission: 4,
  routing: 4,
  upstream: 4,
  usage: 4,
  gateway: 5,
  http: 6,
  top: 7,
};
const lineLimit = 400;
const translatorLineLimit = 600;

/** The room of a file; `src/app.ts`, `src/main.ts` and the command line's files are the top floor. */
function roomOf(path: string): string {
  const [top, room] = path.split('/');
  if (top === 'providers') return 'providers';
  if (top === 'migrations') return 'migrations';
  if (room === undefined || room.endsWith('.ts') || room === 'commands') return 'top';
  return room;
}

function importsOf(source: Source): { specifier: string; line: number }[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^;'"]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s+'([^']+)'/g;
  return [...source.text.matchAll(pattern)].map((match) => ({
    specifier: match[1] ?? match[2] ?? match[3] ?? '',
    line: source.text.slice(0, match.index + 1).split('\n').length,
  }));
}

const resolveImport = (from: string, specifier: string): string => normalize(join(dirname(from), specifier));

const importsGoDown: Rule = (sources) =>
  sources.flatMap((source) => {
    const from = roomOf(source.path);
    if (from === 'providers' || from === 'migrations') return [];
    return importsOf(source).flatMap(({ specifier, line }) => {
      if (!specifier.startsWith('.')) {
        return from === 'contract' && specifier !== 'typebox'
          ? [`${source.path}:${line} contract imports ${specifier}; it may import typebox and itself only`]
          : [];
      }
      const target = resolveImport(source.path, specifier);
      const to = roomOf(target);
      if (to === from) return [];
      const fromRank = ranks[from];
      const toRank = ranks[to];
      if (fromRank === undefined) return [`${source.path}:${line} the room ${from} has no rank`];
      if (to === 'providers' || to === 'migrations') {
        return source.path === 'src/app.ts' ? [] : [`${source.path}:${line} only src/app.ts imports ${to}/`];
      }
      if (toRank === undefined) return [`${source.path}:${line} the room ${to} has no rank`];
      return toRank >= fromRank ? [`${source.path}:${line} ${from} imports ${to}: imports go down only`] : [];
    });
  });

const providersImportContractOnly: Rule = (sources) =>
  sources
    .filter((source) => roomOf(source.path) === 'providers')
    .flatMap((source) =>
      importsOf(source)
        .filter(({ specifier }) => {
          if (!specifier.startsWith('.')) return true;
          const target = resolveImport(source.path, specifier);
          return !target.startsWith('providers/') && !target.startsWith('src/contract/');
        })
        .map(
          ({ specifier, line }) =>
            `${source.path}:${line} a provider imports ${specifier}; only src/contract is allowed`,
        ),
    );

const findText =
  (pattern: RegExp, accept: (path: string) => boolean, message: string): Rule =>
  (sources) =>
    sources
      .filter((source) => accept(source.path))
      .flatMap((source) =>
        source.text
          .split('\n')
          .flatMap((line, index) =>
            pattern.test(withoutComment(line)) ? [`${source.path}:${index + 1} ${message}`] : [],
          ),
      );

const withoutComment = (line: string): string =>
  /^\s*(\*|\/\*|\/\/)/.test(line) ? '' : line.replace(/\s\/\/ .*$/, '');

const noProviderNames: Rule = (sources, registryKeys) =>
  registryKeys.length === 0
    ? []
    : findText(
        new RegExp(`['"\`](?:${registryKeys.join('|')})['"\`/]`),
        (path) => path.startsWith('src/'),
        "a provider's name is known outside its adapter",
      )(sources, registryKeys);

const environmentOnlyInConfig = findText(
  /process\.env/,
  (path) => !path.startsWith('src/config/'),
  'process.env is read outside src/config',
);

const noConsole = findText(/\bconsole\./, () => true, 'console is used; log through the logger');

/** A call, not the declaration of a function or of a method with typed arguments. */
const settleCall = /(?<![.\w])settle\((?!\w+:)/;

const settledInOnePlace: Rule = (sources) => {
  const callers = sources.filter((source) =>
    source.text.split('\n').some((line) => settleCall.test(withoutComment(line)) && !/function settle\(/.test(line)),
  );
  return callers.length <= 1
    ? []
    : callers.map((source) => `${source.path}:1 settle( is called from more than one file`);
};

const filesAreShort: Rule = (sources) =>
  sources.flatMap((source) => {
    const lines = source.text.split('\n').length - 1;
    const limit = roomOf(source.path) === 'providers' ? translatorLineLimit : lineLimit;
    return lines > limit ? [`${source.path}:${limit} ${lines} lines; the limit is ${limit}`] : [];
  });

const noModuleState = findText(/^(?:export )?(?:let|var)\b/, () => true, 'module-level state');

const rules: Record<string, Rule> = {
  'imports go down only': importsGoDown,
  'providers import the contract only': providersImportContractOnly,
  "no provider's name in src": noProviderNames,
  'no process.env outside config': environmentOnlyInConfig,
  'no console': noConsole,
  'settle is called from one file': settledInOnePlace,
  'no long files': filesAreShort,
  'no module-level state': noModuleState,
};

const root = join(import.meta.dirname, '..');
const sources: Source[] = globSync(['src/**/*.ts', 'providers/**/*.ts', 'migrations/**/*.ts'], { cwd: root }).map(
  (path) => ({
    path,
    text: readFileSync(join(root, path), 'utf8'),
  }),
);

function registryKeys(): string[] {
  const registry = sources.find((source) => source.path === 'providers/index.ts');
  if (registry === undefined) return [];
  const body = /export const registry = \{([^}]*)\}/.exec(registry.text)?.[1] ?? '';
  return [...body.matchAll(/^\s*'?([a-z][a-z0-9-]*)'?\s*[:,]/gm)].map((match) => match[1] ?? '');
}

t.test('the house keeps its rules', (t) => {
  for (const [name, rule] of Object.entries(rules)) {
    const findings = rule(sources, registryKeys());
    t.equal(findings.length, 0, findings.length === 0 ? name : `${name}\n${findings.join('\n')}`);
  }
  if (existsSync(join(root, 'providers/index.ts'))) t.ok(registryKeys().length > 0, 'the registry was read');
  t.end();
});

t.test('no room is a drawer for leftovers', (t) => {
  const leftovers = sources.filter(({ path }) => /\/(?:utils?|helpers?|common|shared)(?:\/|\.ts$)/.test(path));
  t.same(leftovers, []);
  t.end();
});

t.test('importing a module does nothing', (t) => {
  const modules = sources.filter(({ path }) => path !== 'src/main.ts').map(({ path }) => join(root, path));
  const program = `
    // The test runner follows child processes through variables of its own.
    const ours = () => JSON.stringify(Object.entries(process.env).filter(([name]) => !/TAP|^NODE_/.test(name)));
    const before = ours();
    for (const path of ${JSON.stringify(modules)}) await import(path);
    const handles = process.getActiveResourcesInfo().filter((name) => !/^(?:TTYWrap|PipeWrap|FSReqPromise|CloseReq)$/.test(name));
    if (handles.length > 0) { process.stderr.write('open handles: ' + handles.join(', ')); process.exit(3); }
    if (ours() !== before) { process.stderr.write('environment changed from ' + before + ' to ' + ours()); process.exit(4); }
  `;
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: root,
    encoding: 'utf8',
  });
  t.equal(child.stderr, '', 'nothing on stderr');
  t.equal(child.stdout, '', 'nothing on stdout');
  t.equal(child.status, 0, 'no open handle, no changed environment');
  t.end();
});

t.test('each rule finds what it forbids', (t) => {
  const planted: Record<string, Source[]> = {
    'imports go down only': [{ path: 'src/auth/a.ts', text: "import { x } from '../usage/b.ts';\n" }],
    'providers import the contract only': [{ path: 'providers/a.ts', text: "import { x } from 'undici';\n" }],
    "no provider's name in src": [{ path: 'src/routing/a.ts', text: "const x = 'acme';\n" }],
    'no process.env outside config': [{ path: 'src/http/a.ts', text: 'const x = process.env.X;\n' }],
    'no console': [{ path: 'src/http/a.ts', text: 'console.log(1);\n' }],
    'settle is called from one file': [
      { path: 'src/gateway/a.ts', text: 'settle(1);\n' },
      { path: 'src/gateway/b.ts', text: 'settle(2);\n' },
    ],
    'no long files': [{ path: 'src/http/a.ts', text: '\n'.repeat(lineLimit + 1) }],
    'no module-level state': [{ path: 'src/http/a.ts', text: 'let x = 1;\n' }],
  };
  for (const [name, rule] of Object.entries(rules)) {
    const findings = rule(planted[name] ?? [], ['acme']);
    t.ok(findings.length > 0, `${name} is found when planted`);
    t.match(findings[0], /^\S+:\d+ /, `${name} names file and line`);
  }
  t.end();
});
