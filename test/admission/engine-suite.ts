/** The behaviours that every admission engine shares, one test each. */
import type { Test } from 'tap';
import { createScenario, type OpenWorld } from './engine-world.ts';
import { runLimitScenarios } from './limit-scenarios.ts';
import { runSettlementScenarios } from './settlement-scenarios.ts';

export function runEngineSuite(t: Test, openWorld: OpenWorld): void {
  const scenario = createScenario(t, openWorld);
  runLimitScenarios(scenario);
  runSettlementScenarios(scenario);
}
