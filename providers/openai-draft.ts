/** One edit of one request under construction, and the rules that it follows. The body itself is only read. */
import { gatewayError } from '../src/contract/errors.ts';
import type { JsonObject, JsonValue } from '../src/contract/json.ts';
import type { AdapterTarget, ParameterFate } from '../src/contract/provider.ts';
import type { FateTable } from './openai-fates.ts';
import type { RequestQuirks } from './openai-quirks.ts';

export type RequestRules = {
  fates: FateTable;
  /** True: the upstream is OpenAI or exactly like it; what the table does not forbid goes as sent, empty or not. */
  isVerbatim: boolean;
  /** How the upstream names the limit on output: by OpenAI's rule per model, always `max_tokens`, or either. */
  tokenLimit: 'by-model' | 'max_tokens' | 'either';
  supportsStreamOptions: boolean;
  quirks: RequestQuirks;
};

/** An edit under construction; later steps see what earlier ones set. */
export class Draft {
  readonly body: JsonObject;
  readonly target: AdapterTarget;
  readonly rules: RequestRules;
  readonly set: Record<string, JsonValue> = {};
  readonly remove: string[] = [];
  readonly dropped: string[] = [];

  constructor(body: JsonObject, target: AdapterTarget, rules: RequestRules) {
    this.body = body;
    this.target = target;
    this.rules = rules;
  }

  /** Null counts as absent. */
  value(key: string): JsonValue | undefined {
    if (this.remove.includes(key)) return undefined;
    return (Object.hasOwn(this.set, key) ? this.set[key] : this.body[key]) ?? undefined;
  }

  replace(key: string, value: JsonValue): void {
    const position = this.remove.indexOf(key);
    if (position >= 0) this.remove.splice(position, 1);
    this.set[key] = value;
  }

  take(key: string): void {
    delete this.set[key];
    if (this.body[key] !== undefined && !this.remove.includes(key)) this.remove.push(key);
  }

  /** What the caller said of these stays. */
  setAbsent(members: JsonObject): void {
    for (const [key, value] of Object.entries(members)) {
      if (value !== undefined && this.value(key) === undefined) this.replace(key, value);
    }
  }

  /** What the table says; where all goes as sent, the upstream itself knows its models best. */
  fate(row: string): ParameterFate | undefined {
    const fate = this.rules.fates[row];
    return fate === 'by-model' && this.rules.isVerbatim ? 'mapped' : fate;
  }

  /** False only where the catalogue knows the model and does not list the ability. */
  supports(...parameters: string[]): boolean {
    const known = this.target.model?.supportedParameters ?? [];
    return known.length === 0 || parameters.some((parameter) => known.includes(parameter));
  }

  /** By the catalogue where it knows the model, else by the table. */
  takesInput(modality: string, row: string): boolean {
    const fate = this.fate(row);
    const known = this.target.model?.inputModalities ?? [];
    if (fate !== 'refused' && fate !== 'by-model') return true;
    return known.length === 0 ? fate === 'by-model' : known.includes(modality);
  }
}

export function refuse(param: string): never {
  throw gatewayError('unsupportedParameter', {
    message: `Unsupported parameter: '${param}' is not supported with this model.`,
    param,
  });
}

/** Where a thing stands in the caller's body, in the two forms that are shown: reports and errors. */
export type Place = { path: string; param: string };

export function refuseValue(param: string, message: string): never {
  throw gatewayError('invalidValue', { message, param });
}
