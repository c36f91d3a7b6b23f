/**
 * Where to? From the name a caller wrote to the ordered targets that may answer it, and the list of what a key may use.
 * Takes the catalogue, the aliases and the providers that are on; gives a `Route` or a 404 with the nearest names.
 * Must never know what a provider is, only its id. Spec: operations 3, DESIGN 4.
 */
import { gatewayError, type GatewayError } from '../contract/errors.ts';
import type { ModelAllowance, ModelSpec, Principal, Route, Target } from '../contract/flow.ts';
import { nearestNames } from './nearest.ts';

export type RouterOptions = {
  catalogue: readonly ModelSpec[];
  aliases: Readonly<Record<string, readonly string[]>>;
  /** Ids of the providers that are on. */
  providerIds: readonly string[];
};

/** A public name; an alias speaks of its first target. */
export type ListedModel = { id: string; target: Target };

export interface Router {
  /** Throws `modelNotFound`, for an unknown and for a forbidden name alike. */
  resolve(name: string, principal: Principal): Route;
  list(principal: Principal): readonly ListedModel[];
}

/**
 * A caller writes it, and it goes into headers, rows, log lines and the paths of some providers: printable, no longer than
 * any real name, and never the step in a path that `encodeURIComponent` leaves as it is.
 */
const passableName = /^(?!\.{1,2}$)[\x21-\x7e]{1,200}$/;

type Targets = readonly [Target, ...Target[]];

export function createRouter(options: RouterOptions): Router {
  const providerIds = new Set(options.providerIds);
  const specs = new Map(options.catalogue.map((spec) => [spec.id, spec]));
  const bareNames = indexBareNames(options.catalogue, providerIds);
  const routes = new Map<string, Targets>();
  const listed = new Map<string, Targets>();
  for (const name of Object.keys(options.aliases)) {
    const targets = targetsOf(name, []);
    if (targets !== null) listed.set(name, targets);
  }
  for (const spec of options.catalogue) {
    // An alias may have the id of a model; then it is what answers to that name.
    const isOpen = providerIds.has(spec.providerId) && !Object.hasOwn(options.aliases, spec.id);
    if (isOpen) listed.set(spec.id, [targetOf(spec)]);
  }

  function targetsOf(name: string, seen: readonly string[]): Targets | null {
    if (Object.hasOwn(options.aliases, name) && !seen.includes(name)) {
      const targets = (options.aliases[name] ?? []).flatMap((member) => targetsOf(member, [...seen, name]) ?? []);
      return asTargets(targets);
    }
    const spec = specs.get(name);
    if (spec !== undefined) return providerIds.has(spec.providerId) ? [targetOf(spec)] : null;
    const slash = name.indexOf('/');
    const providerId = name.slice(0, Math.max(slash, 0));
    const upstreamModel = name.slice(slash + 1);
    if (slash > 0 && providerIds.has(providerId) && passableName.test(upstreamModel)) {
      return [{ providerId, upstreamModel, model: null }];
    }
    return bareNames.get(name) ?? null;
  }

  function cachedTargetsOf(name: string): Targets | null {
    const cached = routes.get(name);
    if (cached !== undefined) return cached;
    const targets = targetsOf(name, []);
    // Only names that the operator wrote are kept: a caller could fill a cache with upstream models that do not exist.
    if (targets !== null && (listed.has(name) || bareNames.has(name))) routes.set(name, targets);
    return targets;
  }

  const notFound = (name: string, principal: Principal): GatewayError => {
    const allowed = [...listed.keys()].filter((id) => mayUse(principal, id, listed.get(id)));
    const nearest = nearestNames(name, allowed, 3);
    const hint = nearest.length === 0 ? 'No model is available to this key.' : `Did you mean ${nearest.join(', ')}?`;
    return gatewayError('modelNotFound', {
      message: `The model \`${name.slice(0, 200).toWellFormed()}\` does not exist or you do not have access to it. ${hint}`,
    });
  };

  return {
    resolve(name, principal) {
      const targets = cachedTargetsOf(name);
      if (targets === null || !mayUse(principal, name, targets)) throw notFound(name, principal);
      return { publicModel: name, targets };
    },
    list: (principal) =>
      [...listed].flatMap(([id, targets]) => (mayUse(principal, id, targets) ? [{ id, target: targets[0] }] : [])),
  };
}

const targetOf = (spec: ModelSpec): Target => ({
  providerId: spec.providerId,
  upstreamModel: spec.upstreamModel,
  model: spec,
});

function asTargets(targets: readonly Target[]): Targets | null {
  const [first, ...others] = targets;
  return first === undefined ? null : [first, ...others];
}

function indexBareNames(catalogue: readonly ModelSpec[], providerIds: ReadonlySet<string>): Map<string, Targets> {
  const found = new Map<string, Targets>();
  for (const spec of catalogue) {
    if (!providerIds.has(spec.providerId)) continue;
    const known = found.get(spec.upstreamModel);
    found.set(spec.upstreamModel, known === undefined ? [targetOf(spec)] : [...known, targetOf(spec)]);
  }
  return found;
}

/** The tier and the key must both allow it, by the name that was asked or by the one target that a bare name stands for. */
function mayUse(principal: Principal, name: string, targets: Targets | undefined): boolean {
  const ids = targets?.length === 1 ? [name, `${targets[0].providerId}/${targets[0].upstreamModel}`] : [name];
  return allows(principal.tier.models, ids) && allows(principal.keyModels, ids);
}

function allows(allowance: ModelAllowance, ids: readonly string[]): boolean {
  if (allowance === '*') return true;
  return allowance.some((pattern) => ids.some((id) => matches(pattern, id)));
}

function matches(pattern: string, id: string): boolean {
  if (!pattern.includes('*')) return pattern === id;
  const parts = pattern.split('*');
  const [head = ''] = parts;
  const tail = parts.at(-1) ?? '';
  if (!id.startsWith(head) || !id.endsWith(tail) || id.length < head.length + tail.length) return false;
  let at = head.length;
  for (const part of parts.slice(1, -1)) {
    const found = id.indexOf(part, at);
    if (found === -1 || found + part.length > id.length - tail.length) return false;
    at = found + part.length;
  }
  return true;
}
