/** How much a stream may write under `hard_cap` before it passes what admission holds for it. Spec: reliability A3.6. */
import { isShadowed } from '../admission/shadow.ts';
import type { Target } from '../contract/flow.ts';
import { ratesFor } from '../contract/price.ts';
import { likelyInputTokens } from '../usage/estimate.ts';
import type { Flow } from './flow.ts';

const picoPerNano = 1000;

/**
 * In output tokens by the gateway's own count, with the input that its row would show; Infinity: nothing is capped.
 * Only what a limit holds can be passed, and a limit in shadow cuts nobody.
 */
export function outputCapTokens({ principal, plan, inputTokens }: Flow, target: Target): number {
  if (principal.tier.hardCap !== true) return Infinity;
  const promptTokens = likelyInputTokens(inputTokens);
  const holdsTokens = plan.buckets.some((check) => check.rule === 'tokens' && !isShadowed(principal, check));
  const byTokens = holdsTokens ? plan.reservedTokens - promptTokens : Infinity;
  const budget = plan.budgets.find(({ scope }) => !isShadowed(principal, { rule: 'budget', scope }));
  const price = target.model?.price ?? null;
  if (budget === undefined || price === null) return byTokens;
  const { input, output } = ratesFor(price, promptTokens);
  if (output === 0) return byTokens;
  const byMoney = (budget.costNanoUsd * picoPerNano - promptTokens * input) / output;
  return Math.min(byTokens, byMoney);
}
