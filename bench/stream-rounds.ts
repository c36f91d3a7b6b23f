/** Stream rounds: a client process on the load's core keeps the streams open; CPU is read at both ends of its window. */
import { setTimeout as sleep } from 'node:timers/promises';
import { rawRequest, runStreamLoad } from './clients.ts';
import { eventsPerStream, streamRequest, type StreamShape } from './mock/replies.ts';
import type { StreamRound } from './record.ts';
import { attempt, liveOnes, type Entrant, type LiveEntrant, type Rig } from './rig.ts';
import { shuffled } from './statistics.ts';
import type { StreamWindow } from './stream-load.ts';

export type StreamPlan = {
  rounds: number;
  streams: number;
  shape: StreamShape;
  /** Bursts before the first round. */
  burstSeconds: number;
  /** Longer than one stream, so that all are under way. */
  warmUpMs: number;
  windowMs: number;
};

async function measure(
  rig: Rig,
  { running }: LiveEntrant,
  plan: StreamPlan,
): Promise<StreamWindow & { cpuUs: number | null }> {
  const cpu = { before: 0, after: 0 };
  const load = {
    port: running.port,
    request: rawRequest(running, streamRequest(plan.shape)),
    streams: plan.streams,
    gapMs: plan.shape.gapMs,
    eventsPerStream: eventsPerStream(plan.shape),
    warmUpMs: plan.warmUpMs,
    windowMs: plan.windowMs,
    holds: false,
  };
  const window = await runStreamLoad(load, {
    core: rig.loadCore,
    patienceMs: plan.warmUpMs + plan.windowMs + 20_000,
    async onOpen() {
      cpu.before = rig.cpu.treeUs(running.pids);
      // The reading must not wait for the client's own arithmetic after the window.
      await sleep(plan.windowMs);
      cpu.after = rig.cpu.treeUs(running.pids);
    },
  });
  return { ...window, cpuUs: running.pids.length === 0 ? null : cpu.after - cpu.before };
}

export async function runStreamRounds(
  rig: Rig,
  entrants: readonly Entrant[],
  plan: StreamPlan,
): Promise<StreamRound[]> {
  const rows: StreamRound[] = [];
  for (let round = 1; round <= plan.rounds; round += 1) {
    rig.say(`streams, round ${round} of ${plan.rounds}: ${plan.streams} at a gap of ${plan.shape.gapMs} ms`);
    for (const entrant of shuffled(liveOnes(entrants), rig.random)) {
      await attempt(rig, entrant, async () => {
        const window = await measure(rig, entrant, plan);
        if (window.events === 0) throw new Error('no event arrived');
        rows.push({
          round,
          subject: entrant.subject.id,
          streams: plan.streams,
          gapMs: plan.shape.gapMs,
          events: window.events,
          cpuUs: window.cpuUs,
          badReplies: window.badReplies + window.socketErrors,
          ttftP50Us: window.ttftP50Us,
          ttftP99Us: window.ttftP99Us,
          gapP50Us: window.gapP50Us,
          gapP99Us: window.gapP99Us,
        });
      });
    }
  }
  return rows;
}

/** Resident bytes that one open, silent stream costs. */
export async function measureIdleStreams(rig: Rig, { running }: LiveEntrant, streams: number): Promise<number> {
  const before = rig.cpu.residentBytes(running.pids);
  let after = before;
  const load = {
    port: running.port,
    request: rawRequest(running, streamRequest({ gapMs: -1, deltas: 1 })),
    streams,
    gapMs: 0,
    eventsPerStream: 0,
    warmUpMs: 0,
    windowMs: 0,
    holds: true,
  };
  await runStreamLoad(load, {
    core: rig.loadCore,
    patienceMs: 20_000,
    async onOpen(release) {
      await sleep(1_000);
      after = rig.cpu.residentBytes(running.pids);
      release();
    },
  });
  return (after - before) / streams;
}
