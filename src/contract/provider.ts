/**
 * The provider contract. Adapters are pure: a fixture in, a fixture out. No sockets, clocks, randomness, loggers or
 * secrets live here; what an adapter needs of them comes in through `ReplyContext`. Spec: DESIGN 2, fidelity 2.
 */
import type { GatewayError } from './errors.ts';
import type { ModelSpec, Usage } from './flow.ts';
import type { JsonObject, JsonValue } from './json.ts';

/**
 * One event of a stream, decoded. Server-Sent Events: `data` lines joined by `\n`; `event` is empty when the upstream
 * named none. Amazon's binary frames: the payload as text under its `:event-type`, or under its `:exception-type` with
 * `exception:` before it.
 */
export type SseEvent = { event: string; data: string };

export type AdapterTarget = { upstreamModel: string; model: ModelSpec | null };

/**
 * The smallest edit that makes the caller's body right for the upstream. Everything not named here is forwarded as the
 * caller's own bytes, so a field that appeared upstream this morning works today.
 */
export type RequestEdit = {
  /** Top-level members to set (replaced in place or added). */
  set: Readonly<Record<string, JsonValue>>;
  /** Top-level members to take out. */
  remove: readonly string[];
  /** Paths reported in `x-tollgate-dropped-params`. */
  dropped: readonly string[];
};

/** A body in another dialect, written anew. Members of the caller's that the dialect knows as its own are in it as sent. */
export type RequestRewrite = {
  body: JsonObject;
  /** Paths reported in `x-tollgate-dropped-params`; a changed value as `temperature(1.7->1)`. */
  dropped: readonly string[];
  /** For this request alone, beside those of `authorize`. */
  headers?: Readonly<Record<string, string>>;
  /** The body asks for a stream although the caller did not: the gateway puts the chunks together again. */
  streamsUpstream?: boolean;
};

/** Something that the caller named by its URL and the dialect wants as bytes. */
export type Asset = { mediaType: string; base64: string };

/** What a pure adapter may know of the moment and of the caller. */
export type ReplyContext = {
  /** The id that the caller asked for. */
  publicModel: string;
  /** Did the caller ask for the usage chunk? */
  includeUsage: boolean;
  /** Unix seconds, constant for the reply. */
  created: number;
  /** 24 base62 characters, fresh at each call. */
  randomId(): string;
  /** The caller's own body, for what the shape of the answer depends on (the legacy function fields). */
  request?: JsonObject;
  /** What went upstream, when the adapter wrote it anew. */
  sent?: JsonObject;
  target?: AdapterTarget;
};

export type AdaptedResponse = {
  /** null: relay the upstream's own bytes. */
  body: JsonObject | null;
  usage: Usage | null;
};

/**
 * Made fresh for each attempt. Feed it every event, then `end()` once: as soon as `isEnded`, or when the connection is
 * over and `isComplete`. After a `failure`, or an end that is not complete, an error frame takes the place of `end()`.
 */
export interface StreamTranslator {
  push(event: SseEvent): readonly SseEvent[];
  /** The tail the caller still needs, its end marker last. Gives nothing when the stream failed or is not complete. */
  end(): readonly SseEvent[];
  /** Set once an in-band error was recognised; nothing more is pushed then. */
  readonly failure: GatewayError | null;
  /** True from the first finish reason or end marker on: an end of the connection is then no truncation. */
  readonly isComplete: boolean;
  /** True after the dialect's end marker; what comes later is ignored. */
  readonly isEnded: boolean;
  /** The last non-null usage, normalised. */
  usage(): Usage | null;
  /** Characters of output handed on so far, for the estimate when no usage comes. */
  readonly outputCharacters: number;
}

/**
 * What happens to a parameter: forwarded in the form the upstream knows; emulated by other means; taken out and reported;
 * refused with 400; used up by the gateway itself; or forwarded where the model has the ability. Spec: fidelity 10.
 */
export type ParameterFate = 'mapped' | 'emulated' | 'dropped' | 'refused' | 'consumed' | 'by-model';

export interface ChatEndpoint {
  /** Every parameter of Chat Completions by name, and `parent.part` for what has a fate of its own inside one. */
  readonly fates?: Readonly<Record<string, ParameterFate>>;
  /** Path below the provider's base URL, with its leading slash. `isStream`: what the upstream is asked for. */
  path(target: AdapterTarget, isStream: boolean): string;
  /** URLs in the caller's body whose bytes `request` needs. Absent: none, ever. */
  assets?(body: JsonObject, target: AdapterTarget): readonly string[];
  /** Throws a `GatewayError` for a parameter that would change what the answer is. Never changes `body`. */
  request(body: JsonObject, target: AdapterTarget, assets?: ReadonlyMap<string, Asset>): RequestEdit | RequestRewrite;
  /** Output tokens that `request` allows beyond what the caller asked for, such as a budget for thinking. Absent: none. */
  outputAllowance?(body: JsonObject, target: AdapterTarget): number;
  /** A unary reply with a 2xx status and no in-band error. */
  response(body: JsonObject, context: ReplyContext): AdaptedResponse;
  /** Absent: the stream is passed through untouched and only metered. */
  stream?(context: ReplyContext): StreamTranslator;
  /** How the upstream frames its streams; the default is Server-Sent Events. */
  readonly framing?: 'server-sent-events' | 'amazon-event-stream';
  /** Reads usage off a reply body or a stream chunk. */
  usage(body: JsonObject): Usage | null;
}

/** A reply that an adapter gives by itself, without an upstream; chunks are played with their delays. */
export type ScriptedReply = {
  status: number;
  headers: Readonly<Record<string, string>>;
  chunks: Iterable<{ afterMs: number; data: string }>;
  /** True: the connection breaks after the last chunk instead of ending. */
  breaks: boolean;
};

/** What an operator says of a provider beside its key: a region, a project, an API version. */
export type ProviderSetting = { description: string; isRequired: boolean; pattern: RegExp };

/**
 * How requests are authorised where a header made once will not do. `sigv4`: the secret is
 * `<access key id>:<secret access key>[:<session token>]` and each request is signed for the service and region; one
 * without a colon is a token, which goes as `authorize` says.
 * `service-account`: the secret is the JSON of a service account, and short-lived tokens are fetched with it.
 */
export type Signing =
  | { scheme: 'sigv4'; service: string; region: string }
  | { scheme: 'service-account'; scopes: readonly string[] };

export type ReplyHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface ProviderAdapter {
  readonly id: string;
  readonly name: string;
  readonly baseUrl: string;
  /** False for a provider that needs no key (local servers, the built-in demo). */
  readonly needsKey: boolean;
  authorize(secret: string): Readonly<Record<string, string>>;
  readonly signing?: Signing;
  readonly settings?: Readonly<Record<string, ProviderSetting>>;
  /** The same provider under these settings, each checked against its pattern; its base URL and signing are then final. */
  configure?(settings: Readonly<Record<string, string>>): ProviderAdapter;
  readonly endpoints: { readonly chat?: ChatEndpoint };
  /**
   * Maps a failed reply, or an error inside a 200, to the caller's error. `body` is undefined when it was not JSON.
   * The upstream's text is passed on only where it teaches the caller (400-class); never for credentials or HTML.
   * Names of headers are in lower case.
   */
  mapError(status: number, body: JsonValue | undefined, headers?: ReplyHeaders): GatewayError;
  /** Recognises an error inside a reply that claims success; null when there is none. */
  findError(body: JsonObject, eventName: string): GatewayError | null;
  /** Present on a provider that answers by itself. */
  answer?(request: { path: string; body: JsonObject; context: ReplyContext }): ScriptedReply;
}
