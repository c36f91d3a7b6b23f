import t from 'tap';
import { runEngineModel } from './engine-model.ts';
import { runEngineSuite } from './engine-suite.ts';
import { openRedisWorld } from './redis-world.ts';

runEngineSuite(t, () => openRedisWorld());
runEngineModel(t, () => openRedisWorld(), { operations: 10_000, seed: 1 });
