/**
 * `${VAR}`, `${VAR:-default}`, `${file:/path}` and `$$` inside one text. It runs on parsed scalars and goes over them
 * once: what a variable holds is never read as YAML or as another variable.
 */
export type Lookup = {
  /** Undefined when the variable is not set. */
  variable(name: string): string | undefined;
  /** The text of a file, or a short reason (never its content) why there is none. */
  file(path: string): { text: string } | { reason: string };
};

export type Interpolated = {
  text: string;
  problems: readonly string[];
  /** True when the text came out of a file or of a variable whose name says secret: it is then shown nowhere. */
  isSensitive: boolean;
};

const pattern = /\$\$|\$\{([^}]*)\}|\$\{/g;
const variablePattern = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/;
const secretName = /key|secret|token|pass|credential/i;

export function interpolate(source: string, lookup: Lookup): Interpolated {
  const problems: string[] = [];
  let isSensitive = false;
  const text = source.replace(pattern, (whole: string, expression: string | undefined) => {
    if (whole === '$$') return '$';
    const result = expression === undefined ? { problem: 'a ${ without its }' } : evaluate(expression, lookup);
    if ('problem' in result) {
      problems.push(result.problem);
      return '';
    }
    isSensitive ||= result.isSensitive;
    return result.text;
  });
  return { text, problems, isSensitive };
}

type Evaluated = { text: string; isSensitive: boolean } | { problem: string };

function evaluate(expression: string, lookup: Lookup): Evaluated {
  if (expression.startsWith('file:')) return evaluateFile(expression.slice('file:'.length), lookup);
  const [matched, name = '', fallback] = variablePattern.exec(expression) ?? [];
  if (matched === undefined)
    return { problem: 'expected ${NAME}, ${NAME:-default} or ${file:/path} (a plain $ is $$)' };
  const value = lookup.variable(name);
  if (fallback !== undefined && (value === undefined || value === '')) return { text: fallback, isSensitive: false };
  if (value === undefined) return { problem: `the environment variable ${name} is not set` };
  return { text: value, isSensitive: secretName.test(name) };
}

function evaluateFile(path: string, lookup: Lookup): Evaluated {
  if (!path.startsWith('/')) return { problem: '${file:...} needs an absolute path' };
  const read = lookup.file(path);
  return 'reason' in read
    ? { problem: `cannot read ${path}: ${read.reason}` }
    : { text: read.text.trim(), isSensitive: true };
}
