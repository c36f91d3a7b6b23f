import t from 'tap';
import { runEngineModel } from './engine-model.ts';
import { runEngineSuite } from './engine-suite.ts';
import { openRedisWorld } from './redis-world.ts';

runEngineSuite(t, () => openRedisWorld({ rows: 'stream', boundMs: 5000 }));
runEngineModel(t, () => openRedisWorld({ rows: 'stream', boundMs: 5000 }), { operations: 10_000, seed: 1 });

void t.test('without the usage stream', async (t) => {
  runEngineSuite(t, () => openRedisWorld({ rows: 'sink', boundMs: 5000 }));
});
