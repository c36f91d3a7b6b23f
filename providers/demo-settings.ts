/**
 * The knobs of the demo, read from the member `demo` of the request body. A value out of bounds is refused with its name,
 * so that a load test never measures something else than it thinks.
 *
 *   delay_ms      0 to 10000  wait before each piece of a stream, and once before a unary reply (20)
 *   tokens        1 to 20000  length of the text of `demo/lorem` (60)
 *   error_rate    0 to 1      share of requests that fail before they answer (0)
 *   error_status  400 to 599  the status of those failures (503)
 *   fail_after    0 to 20000  the connection breaks after so many pieces (never)
 */
import { gatewayError } from '../src/contract/errors.ts';
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';

export type DemoSettings = {
  delayMs: number;
  tokens: number;
  errorRate: number;
  errorStatus: number;
  failAfter: number | null;
};

type Bounds = { least: number; most: number; isInteger: boolean };

export const demoBounds = {
  delay_ms: { least: 0, most: 10_000, isInteger: true },
  tokens: { least: 1, most: 20_000, isInteger: true },
  error_rate: { least: 0, most: 1, isInteger: false },
  error_status: { least: 400, most: 599, isInteger: true },
  fail_after: { least: 0, most: 20_000, isInteger: true },
} as const satisfies Record<string, Bounds>;

function read(settings: JsonObject, key: keyof typeof demoBounds): number | null {
  const value = settings[key] ?? null;
  if (value === null) return null;
  const { least, most, isInteger } = demoBounds[key];
  if (typeof value !== 'number' || value < least || value > most || (isInteger && !Number.isInteger(value))) {
    throw gatewayError('invalidValue', {
      message: `Invalid value: 'demo.${key}' must be ${isInteger ? 'a whole number' : 'a number'} from ${least} to ${most}.`,
      param: `demo.${key}`,
    });
  }
  return value;
}

export function readDemoSettings(body: JsonObject): DemoSettings {
  const settings = body.demo ?? {};
  if (!isJsonObject(settings)) {
    throw gatewayError('invalidType', { message: "Invalid type: 'demo' must be an object.", param: 'demo' });
  }
  const unknown = Object.keys(settings).find((key) => !Object.hasOwn(demoBounds, key));
  if (unknown !== undefined) {
    throw gatewayError('invalidValue', { message: `Unknown setting: 'demo.${unknown}'.`, param: `demo.${unknown}` });
  }
  return {
    delayMs: read(settings, 'delay_ms') ?? 20,
    tokens: read(settings, 'tokens') ?? 60,
    errorRate: read(settings, 'error_rate') ?? 0,
    errorStatus: read(settings, 'error_status') ?? 503,
    failAfter: read(settings, 'fail_after'),
  };
}
