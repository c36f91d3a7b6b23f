/** The behaviours that every admission engine shares, one test each. */
import type { Test } from 'tap';
import { createScenario, type OpenWorld } from './engine-world.ts';
import { runBudgetScenarios } from './budget-scenarios.ts';
import { runLimitScenarios } from './limit-scenarios.ts';
import { runAuthScenarios } from './auth-scenarios.ts';
import { runSettlementScenarios } from './settlement-scenarios.ts';

export function runEngineSuite(t: Test, openWorld: OpenWorld): void {
  const scenario = createScenario(t, openWorld);
  runLimitScenarios(scenario);
  runSettlementScenarios(scenario);
  runBudgetScenarios(scenario);
  runAuthScenarios(scenario);
}
