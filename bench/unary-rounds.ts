/** Unary rounds: every subject in random order, warmed, checked, loaded, and its CPU read before and after. */
import { setTimeout as sleep } from 'node:timers/promises';
import { rawRequest, runRateLoad } from './clients.ts';
import { chatRequest, streamRequest } from './mock/replies.ts';
import { busyShare } from './process-cpu.ts';
import type { BadKeyRun, LatencyRun, UnaryRound } from './record.ts';
import { attempt, type Entrant, type LiveEntrant, type Rig, liveOnes } from './rig.ts';
import { shuffled } from './statistics.ts';
import type { Backing, RunningSubject } from './subjects/subject.ts';
import { checkUnary } from './verify.ts';
import { runWrk, type WrkResult } from './wrk.ts';

export type UnaryPlan = {
  rounds: number;
  seconds: number;
  warmUpSeconds: number;
  bodyBytes: number;
  connections: number;
};

type Load = { body: string; connections: number; seconds: number };

function load(rig: Rig, running: RunningSubject, { body, connections, seconds }: Load): Promise<WrkResult> {
  return runWrk({
    port: running.port,
    headers: running.headers,
    body,
    connections,
    seconds,
    core: rig.loadCore,
    scratchDirectory: rig.scratchDirectory,
  });
}

/** Until the JIT has seen enough: so many requests, or patience ends. */
export async function warmUp(
  rig: Rig,
  entrant: LiveEntrant,
  { requests, patienceSeconds }: { requests: number; patienceSeconds: number },
): Promise<void> {
  const giveUpAt = performance.now() + patienceSeconds * 1000;
  for (let done = 0; done < requests && performance.now() < giveUpAt;) {
    const result = await load(rig, entrant.running, { body: chatRequest(200), connections: 64, seconds: 1 });
    if (result.requests === 0) throw new Error('no request was answered in the warm-up');
    done += result.requests;
  }
}

/** Whole streams in one burst, many a second: a paced round alone would leave the code cold. */
export async function warmUpStreams(rig: Rig, { running }: LiveEntrant, seconds: number): Promise<void> {
  await load(rig, running, { body: streamRequest({ gapMs: 0, deltas: 64 }), connections: 64, seconds });
}

async function mustAnswerRight(entrant: LiveEntrant, body: string): Promise<void> {
  const check = await checkUnary(entrant.running, body);
  if ('problem' in check) throw new Error(check.problem);
  entrant.fidelity = check.fidelity;
}

const difference = (after: Backing, before: Backing): Backing =>
  Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]));

async function measure(rig: Rig, entrant: LiveEntrant, timed: Load): Promise<Omit<UnaryRound, 'round' | 'subject'>> {
  const { running } = entrant;
  const core = rig.subjectCore ?? 0;
  await sleep(rig.settleMs);
  const backingBefore = (await running.backing?.()) ?? {};
  const loadCoreBefore = rig.loadCore === null ? null : rig.cpu.core(rig.loadCore);
  const coreBefore = rig.cpu.core(core);
  const cpuBefore = rig.cpu.treeUs(running.pids);
  const startedAt = performance.now();
  const result = await load(rig, running, timed);
  const loadCoreAfter = rig.loadCore === null ? null : rig.cpu.core(rig.loadCore);
  await sleep(rig.settleMs);
  const cpuUs = rig.cpu.treeUs(running.pids) - cpuBefore;
  const elapsedUs = (performance.now() - startedAt) * 1000;
  const subjectCoreBusy = busyShare(coreBefore, rig.cpu.core(core));
  const check = await checkUnary(running, timed.body);
  return {
    bodyBytes: Buffer.byteLength(timed.body),
    connections: timed.connections,
    requests: result.requests,
    durationUs: result.durationUs,
    cpuUs: running.pids.length === 0 ? null : cpuUs,
    p50Us: result.p50Us,
    p99Us: result.p99Us,
    badReplies: result.badStatus + result.socketErrors + ('problem' in check ? 1 : 0),
    loadCoreBusy: busyShare(loadCoreBefore, loadCoreAfter),
    foreignShare: subjectCoreBusy === null ? null : Math.max(0, subjectCoreBusy - cpuUs / elapsedUs),
    backing: difference((await running.backing?.()) ?? {}, backingBefore),
  };
}

export async function runUnaryRounds(rig: Rig, entrants: readonly Entrant[], plan: UnaryPlan): Promise<UnaryRound[]> {
  const rows: UnaryRound[] = [];
  const body = chatRequest(plan.bodyBytes);
  const { connections, seconds } = plan;
  for (let round = 1; round <= plan.rounds; round += 1) {
    rig.say(`round ${round} of ${plan.rounds}, body of ${plan.bodyBytes} bytes`);
    for (const entrant of shuffled(liveOnes(entrants), rig.random)) {
      await attempt(rig, entrant, async () => {
        await mustAnswerRight(entrant, body);
        if (plan.warmUpSeconds > 0) {
          await load(rig, entrant.running, { body, connections, seconds: plan.warmUpSeconds });
        }
        const row = await measure(rig, entrant, { body, connections, seconds });
        rows.push({ round, subject: entrant.subject.id, ...row });
      });
    }
  }
  return rows;
}

/** One connection, closed loop: what a lone caller waits. */
export async function runLatency(
  rig: Rig,
  entrants: readonly Entrant[],
  { repeats, seconds }: { repeats: number; seconds: number },
): Promise<LatencyRun[]> {
  const runs: LatencyRun[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1) {
    rig.say(`latency with one connection, ${repeat} of ${repeats}`);
    for (const entrant of shuffled(liveOnes(entrants), rig.random)) {
      await attempt(rig, entrant, async () => {
        const result = await load(rig, entrant.running, { body: chatRequest(200), connections: 1, seconds });
        const requestsPerSecond = (result.requests * 1e6) / result.durationUs;
        runs.push({ subject: entrant.subject.id, repeat, p50Us: result.p50Us, p99Us: result.p99Us, requestsPerSecond });
      });
    }
  }
  return runs;
}

/** Many clients at a rate that everyone can hold: tails without the queue of a saturated process. */
export async function runFixedRates(
  rig: Rig,
  entrants: readonly Entrant[],
  { repeats, seconds, requestsPerSecond }: { repeats: number; seconds: number; requestsPerSecond: number },
): Promise<LatencyRun[]> {
  const runs: LatencyRun[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1) {
    rig.say(`latency at ${Math.round(requestsPerSecond)} requests/s, ${repeat} of ${repeats}`);
    for (const entrant of shuffled(liveOnes(entrants), rig.random)) {
      await attempt(rig, entrant, async () => {
        const { running } = entrant;
        const request = rawRequest(running, chatRequest(200));
        const timed = { port: running.port, request, requestsPerSecond, warmUpMs: 1_000, windowMs: seconds * 1000 };
        const result = await runRateLoad(timed, rig.loadCore);
        if (result.badReplies > 0) throw new Error(`${result.badReplies} replies were not 200 at a fixed rate`);
        runs.push({ subject: entrant.subject.id, repeat, ...result });
      });
    }
  }
  return runs;
}

/** CPU per refused request when every caller has a key of the right shape with a wrong checksum. */
export async function runBadKeyFlood(rig: Rig, entrant: LiveEntrant, seconds: number): Promise<BadKeyRun> {
  const good = entrant.running.headers['authorization'] ?? '';
  const headers = { authorization: good.slice(0, -1) + (good.endsWith('0') ? '1' : '0') };
  const flooded = { ...entrant, running: { ...entrant.running, headers } };
  const flood = { body: chatRequest(200), connections: 64, seconds };
  await load(rig, flooded.running, { ...flood, seconds: 1 });
  const before = rig.cpu.treeUs(entrant.running.pids);
  const result = await load(rig, flooded.running, flood);
  if (result.badStatus < result.requests) throw new Error('a request with a wrong key was let in');
  return {
    subject: entrant.subject.id,
    requests: result.requests,
    cpuUs: rig.cpu.treeUs(entrant.running.pids) - before,
  };
}
