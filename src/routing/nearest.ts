import { editDistance } from '../config/nearest-name.ts';

/** The names most like `name`, best first; the part behind the provider counts as much as the whole. */
export function nearestNames(name: string, candidates: readonly string[], count: number): string[] {
  // Distance costs time in proportion to the product of the lengths, and the name comes from a caller.
  const asked = name.slice(0, 100).toLowerCase();
  return candidates
    .map((candidate) => ({ candidate, distance: distanceTo(asked, candidate.toLowerCase()) }))
    .toSorted((left, right) => left.distance - right.distance)
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

function distanceTo(asked: string, candidate: string): number {
  const bare = candidate.slice(candidate.indexOf('/') + 1);
  return Math.min(editDistance(asked, candidate), editDistance(asked, bare) + 0.5);
}
