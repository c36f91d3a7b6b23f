/**
 * One YAML file as plain data that remembers where each piece was written. Takes the text, gives the data with every
 * scalar interpolated, and for each path its line and its column. It walks the nodes itself instead of
 * calling the parser's conversion: so positions, interpolation and the caps on aliases are one pass. It never puts a
 * value into a message, since any value may be a secret.
 */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type Scalar,
  type YAMLError,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { interpolate, type Lookup } from './interpolation.ts';
import type { Path, Place, Report } from './report.ts';
import { redacted } from './secret.ts';

export type YamlFile = {
  name: string;
  value: unknown;
  /** The nearest known place when the path itself was not written. */
  place(path: Path, part?: 'key' | 'value'): Place;
  /** The keys of a mapping of the top as written, right or wrong: a wrong entry is still a known name. */
  namesIn(section: string): string[];
  /** Came out of `${...}`. */
  isInterpolated(path: Path): boolean;
  /** Its interpolation failed and was reported; what stands there now means nothing. */
  isFaulty(path: Path): boolean;
  /** `text`, or `[redacted]` when a secret's file or variable was interpolated at the path or below it. */
  display(path: Path, text: string): string;
};

type Entry = {
  key: number;
  value: number;
  isInterpolated: boolean;
  isSensitive: boolean;
  isFaulty: boolean;
};

const maxBytes = 4 * 1024 * 1024;
const maxAliases = 100;
const maxDepth = 32;
/** Aliases of aliases multiply; this bounds the product. */
const maxNodes = 500_000;

export const emptyYamlFile = (name: string): YamlFile =>
  createFile(name, {}, new Map(), () => ({ line: 1, column: 1 }));

/** Null when the text is not YAML that we accept; the report then says why. */
export function readYamlFile(name: string, text: string, context: { lookup: Lookup; report: Report }): YamlFile | null {
  const { report } = context;
  if (Buffer.byteLength(text) > maxBytes) {
    report.refuse({ file: name, line: 1, column: 1 }, [], 'larger than 4 MiB');
    return null;
  }
  const lineCounter = new LineCounter();
  const position = (offset: number): { line: number; column: number } => {
    const { line, col } = lineCounter.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const document = parseDocument(text, {
    lineCounter,
    prettyErrors: false,
    version: '1.2',
    schema: 'core',
    merge: false,
    resolveKnownTags: false,
    stringKeys: true,
    uniqueKeys: true,
  });
  const faults = [...document.errors, ...document.warnings];
  for (const fault of faults) {
    report.refuse({ file: name, ...position(fault.pos[0]) }, [], syntaxMessage(fault));
  }
  if (document.directives?.yaml.explicit === true && document.directives.yaml.version !== '1.2') {
    report.refuse({ file: name, line: 1, column: 1 }, [], 'expected YAML 1.2');
  }
  if (faults.length > 0) return null;
  const entries = new Map<string, Entry>();
  const at = (offset: number): Place => ({ file: name, ...position(offset) });
  const value = convert(document, { ...context, entries, at });
  return value === undefined ? null : createFile(name, value, entries, position);
}

/** The parser quotes the text it stumbled over; that part may be a secret and is cut off. */
function syntaxMessage(fault: YAMLError): string {
  if (fault.code === 'DUPLICATE_KEY') return 'this key was used before in the same mapping';
  if (fault.code === 'BAD_DIRECTIVE') return 'not valid YAML: a directive other than %YAML 1.2';
  const [firstLine = ''] = fault.message.split('\n');
  const [message = ''] =
    fault.code === 'UNEXPECTED_TOKEN' || fault.code === 'TAG_RESOLVE_FAILED' || fault.code === 'BAD_DQ_ESCAPE'
      ? firstLine.split(/: | sequence /)
      : [firstLine];
  return `not valid YAML: ${message}`;
}

type Conversion = {
  lookup: Lookup;
  report: Report;
  entries: Map<string, Entry>;
  at: (offset: number) => Place;
};

/** A scalar of the core schema that a float would distort; it stays the text that was written. */
const isInexact = (node: Scalar): boolean => typeof node.value === 'number' && !Number.isSafeInteger(node.value);

/** Undefined when the shape itself was refused. */
function convert(document: Document.Parsed, { lookup, report, entries, at }: Conversion): unknown {
  const anchors = new Map<string, Node>();
  const open = new Set<Node>();
  let aliases = 0;
  let nodes = 0;
  let isRefused = false;

  function refuse(node: Node, path: Path, text: string): undefined {
    if (!isRefused) report.refuse(at(node.range?.[0] ?? 0), path, text);
    isRefused = true;
  }

  function remember(node: Node, path: Path, keyOffset: number | undefined): Entry {
    const offset = node.range?.[0] ?? 0;
    const entry: Entry = {
      key: keyOffset ?? offset,
      value: offset,
      isInterpolated: false,
      isSensitive: false,
      isFaulty: false,
    };
    entries.set(JSON.stringify(path), entry);
    return entry;
  }

  function visitScalar(node: Scalar, path: Path, entry: Entry): unknown {
    if (isInexact(node)) return node.source ?? String(node.value);
    if (typeof node.value !== 'string' || !node.value.includes('$')) return node.value;
    const { text, problems, isSensitive } = interpolate(node.value, lookup);
    for (const problem of problems) report.refuse(at(entry.value), path, problem);
    entry.isInterpolated = text !== node.value;
    entry.isSensitive = isSensitive;
    entry.isFaulty = problems.length > 0;
    return text;
  }

  function visitMap(node: YAMLMap, path: Path): unknown {
    const members: [string, unknown][] = [];
    for (const pair of node.items) {
      if (!isPair(pair) || !isScalar(pair.key)) continue;
      const key = String(pair.key.value);
      const step = [...path, key];
      const keyOffset = pair.key.range?.[0];
      if (pair.value === null || pair.value === undefined) {
        remember(pair.key, step, keyOffset);
        members.push([key, null]);
      } else {
        members.push([key, visit(pair.value as Node, step, keyOffset)]);
      }
    }
    return Object.fromEntries(members);
  }

  function visitSeq(node: YAMLSeq, path: Path): unknown {
    return node.items.map((item, index) => visit(item as Node, [...path, index]));
  }

  function visit(node: Node, path: Path, keyOffset?: number): unknown {
    nodes += 1;
    if (isRefused) return undefined;
    if (nodes > maxNodes) return refuse(node, path, 'too large once its aliases are followed');
    if (path.length > maxDepth) return refuse(node, [], `nested more than ${maxDepth} deep`);
    if (isAlias(node)) {
      aliases += 1;
      if (aliases > maxAliases) return refuse(node, path, `more than ${maxAliases} aliases`);
      const target = anchors.get(node.source);
      if (target === undefined) return refuse(node, path, 'an alias without an anchor before it');
      if (open.has(target)) return refuse(node, path, 'an alias that contains itself');
      return visit(target, path, keyOffset ?? node.range?.[0]);
    }
    const entry = remember(node, path, keyOffset);
    if ((isScalar(node) || isCollection(node)) && node.anchor !== undefined) anchors.set(node.anchor, node);
    if (isScalar(node)) return visitScalar(node, path, entry);
    open.add(node);
    const value = isMap(node) ? visitMap(node, path) : isSeq(node) ? visitSeq(node, path) : null;
    open.delete(node);
    return value;
  }

  const value = document.contents === null ? {} : visit(document.contents, []);
  return isRefused ? undefined : (value ?? {});
}

function createFile(
  name: string,
  value: unknown,
  entries: ReadonlyMap<string, Entry>,
  position: (offset: number) => { line: number; column: number },
): YamlFile {
  const entryAt = (path: Path): Entry | undefined => entries.get(JSON.stringify(path));
  return {
    name,
    value,
    place(path, part = 'value') {
      for (let length = path.length; length >= 0; length -= 1) {
        const entry = entryAt(path.slice(0, length));
        const offset = part === 'key' ? entry?.key : entry?.value;
        if (offset !== undefined) return { file: name, ...position(offset) };
      }
      return { file: name, line: 1, column: 1 };
    },
    namesIn(section) {
      const written = Object.entries(value ?? {}).find(([key]) => key === section)?.[1];
      return Object.keys(typeof written === 'object' && written !== null ? written : {});
    },
    isInterpolated: (path) => entryAt(path)?.isInterpolated ?? false,
    isFaulty: (path) => entryAt(path)?.isFaulty ?? false,
    display(path, text) {
      const own = JSON.stringify(path);
      const below = `${own.slice(0, -1)}${path.length === 0 ? '' : ','}`;
      const isSecret = [...entries].some(([key, entry]) => entry.isSensitive && (key === own || key.startsWith(below)));
      return isSecret ? redacted : text;
    },
  };
}
