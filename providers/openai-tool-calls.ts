/**
 * Tool calls as the SDKs demand them: numbered from 0, with id, type and name once and arguments that are a JSON object.
 * One instance per choice of one stream. Spec: fidelity 1.1, 1.14 and 2.3, rules 6 and 7.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { withoutNoise } from './openai-message.ts';

type Call = {
  index: number;
  upstreamId: string;
  isAnnounced: boolean;
  /** Arguments not handed on yet: the name is unknown, or they may still turn out to be `null`. */
  held: string;
  hasArguments: boolean;
};

const handled = new Set(['index', 'id', 'type', 'function']);
const text = (value: JsonValue | undefined): string => (typeof value === 'string' ? value : '');

/** Servers that start counting anew in each turn give ids that collide in the caller's history. */
export function isReusedId(id: string): boolean {
  return id === '' || /^call_\d{1,4}$/.test(id);
}

/** Some servers send the arguments parsed. */
function argumentText(value: JsonValue | undefined): string {
  return isJsonObject(value) ? JSON.stringify(value) : text(value);
}

export function completeArguments(value: JsonValue | undefined): string {
  const written = argumentText(value).trim();
  return written === '' || written === 'null' ? '{}' : argumentText(value);
}

const mayBeNull = (written: string): boolean => 'null'.startsWith(written.trim());

export class ToolCallAssembler {
  readonly #randomId: () => string;
  readonly #noise: readonly string[];
  readonly #calls: Call[] = [];
  readonly #byKey = new Map<string, Call>();

  constructor(randomId: () => string, noise: readonly string[]) {
    this.#randomId = randomId;
    this.#noise = noise;
  }

  get hasCalls(): boolean {
    return this.#calls.length > 0;
  }

  push(deltas: readonly JsonObject[]): JsonObject[] {
    return deltas.flatMap((delta, position) => {
      const called = isJsonObject(delta.function) ? delta.function : {};
      const call = this.#callOf(delta, text(called.name), position);
      call.held += argumentText(called.arguments);
      return this.#advance(call, delta, text(called.name));
    });
  }

  /** What is still held when the choice ends; a call without a name was never a call. */
  close(): JsonObject[] {
    return this.#calls
      .filter((call) => call.isAnnounced && !call.hasArguments)
      .map((call) => {
        call.hasArguments = true;
        return { index: call.index, function: { arguments: completeArguments(call.held) } };
      });
  }

  #callOf(delta: JsonObject, name: string, position: number): Call {
    const id = text(delta.id);
    const key = typeof delta.index === 'number' ? `index ${delta.index}` : id === '' ? `at ${position}` : `id ${id}`;
    const known = this.#byKey.get(key);
    // Parallel calls that all say index 0, or say none: a fresh id or, without ids, a second name starts a new call.
    const isAnother =
      known !== undefined &&
      known.isAnnounced &&
      name !== '' &&
      (id === '' ? typeof delta.index !== 'number' : known.upstreamId !== '' && id !== known.upstreamId);
    if (known !== undefined && !isAnother) {
      if (known.upstreamId === '') known.upstreamId = id;
      return known;
    }
    const call = { index: -1, upstreamId: id, isAnnounced: false, held: '', hasArguments: false };
    this.#byKey.set(key, call);
    return call;
  }

  #advance(call: Call, delta: JsonObject, name: string): JsonObject[] {
    const extras = withoutNoise(delta, this.#noise, handled);
    if (!call.isAnnounced) {
      if (name === '') return [];
      call.isAnnounced = true;
      // Numbered when it can be shown, so that the caller never sees a gap.
      call.index = this.#calls.push(call) - 1;
      const id = isReusedId(call.upstreamId) ? `call_${this.#randomId()}` : call.upstreamId;
      const shown = { name, arguments: this.#release(call) };
      return [{ index: call.index, id, type: 'function', function: shown, ...extras }];
    }
    const released = this.#release(call);
    if (released === '' && Object.keys(extras).length === 0) return [];
    return [{ index: call.index, function: { arguments: released }, ...extras }];
  }

  #release(call: Call): string {
    if (!call.hasArguments && mayBeNull(call.held)) return '';
    const released = call.held;
    call.held = '';
    call.hasArguments = true;
    return released;
  }
}

/** The calls of a unary message. */
export function completeToolCalls(
  calls: readonly JsonObject[],
  noise: readonly string[],
  randomId: () => string,
): JsonObject[] {
  return calls.map((call) => {
    const id = text(call.id);
    const called = isJsonObject(call.function) ? call.function : null;
    return {
      ...withoutNoise(call, noise, new Set(['index'])),
      id: isReusedId(id) ? `call_${randomId()}` : id,
      type: called === null ? (call.type ?? 'function') : 'function',
      ...(called === null ? {} : { function: { ...called, arguments: completeArguments(called.arguments) } }),
    };
  });
}
