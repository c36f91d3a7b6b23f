/**
 * One run from start to end: mocks up, subjects up, unary rounds, stream rounds, starts, everything down again.
 * Takes the rig and the options, gives the parts of the record. It judges nothing: that is report.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { startStreamMock } from './mock/stream.ts';
import { startUnaryMock } from './mock/unary.ts';
import { chatPath, chatRequest } from './mock/replies.ts';
import { askMany, freePort } from './network.ts';
import { smallBodyBytes, type Options } from './options.ts';
import type { BadKeyRun, BenchRecord, GovernedCheck, LatencyRun, StartRun, SubjectRecord } from './record.ts';
import { attempt, isLive, reasonOf, type Entrant, type Rig, liveOnes } from './rig.ts';
import { countedRows, floor, unaryFigures, witness } from './rounds.ts';
import { measureIdleStreams, runStreamRounds } from './stream-rounds.ts';
import type { Purpose, RunningSubject, Subject } from './subjects/subject.ts';
import { runBadKeyFlood, runFixedRates, runLatency, runUnaryRounds, warmUp, warmUpStreams } from './unary-rounds.ts';
import { verifyStream } from './verify.ts';

export const connections = 64;
const governedId = 'tollgate-governed';
const plainId = 'tollgate-plain';
const idleStreams = 1_000;
const startRepeats = 3;

export type Measured = Pick<
  BenchRecord,
  'subjects' | 'unary' | 'latency' | 'fixedRate' | 'streams' | 'starts' | 'governed' | 'badKey'
>;

type Side = { entrants: Entrant[]; idleBytes: Map<string, number>; loadedBytes: Map<string, number> };

const fresh = { running: null, failure: null, fidelity: null, lastProblem: null };

async function enter(rig: Rig, subject: Subject, purpose: Purpose): Promise<Entrant> {
  try {
    rig.say(`starting ${subject.id}`);
    const started = await subject.start({ ...rig, core: rig.subjectCore }, purpose);
    const isRunning = !('unavailable' in started);
    if (!isRunning) rig.say(`${subject.id}: ${started.unavailable}`);
    return {
      subject,
      ...fresh,
      running: isRunning ? started : null,
      failure: isRunning ? null : started.unavailable,
    };
  } catch (error) {
    const failure = `fails: ${reasonOf(error)}`;
    rig.say(`${subject.id} ${failure}`);
    return { subject, ...fresh, failure };
  }
}

/** One after the other: a start is timed, and two at once would share the core. */
async function enterAll(rig: Rig, subjects: readonly Subject[], upstreamPort: number): Promise<Side> {
  const entrants: Entrant[] = [];
  for (const subject of subjects) entrants.push(await enter(rig, subject, { upstreamPort, storage: 'databases' }));
  return { entrants, idleBytes: new Map(), loadedBytes: new Map() };
}

function readMemory(rig: Rig, entrants: readonly Entrant[]): Map<string, number> {
  const running = liveOnes(entrants).filter(({ running: { pids } }) => pids.length > 0);
  return new Map(running.map((entrant) => [entrant.subject.id, rig.cpu.residentBytes(entrant.running.pids)]));
}

async function leaveAll({ entrants }: Side): Promise<void> {
  const running = entrants.flatMap((entrant) => (entrant.running === null ? [] : [entrant.running]));
  await Promise.all(running.map((subject) => subject.stop()));
}

async function ledgerAtRest(running: RunningSubject): Promise<number> {
  let rows = -1;
  for (let tries = 0; tries < 40; tries += 1) {
    const now = (await running.ledgerRows?.()) ?? 0;
    if (now === rows) return now;
    rows = now;
    await sleep(700);
  }
  return rows;
}

/** Does governed govern? So many requests go in, so many rows must come out. */
async function checkLedgers(rig: Rig, entrants: readonly Entrant[], total: number): Promise<GovernedCheck[]> {
  const checks: GovernedCheck[] = [];
  for (const entrant of liveOnes(entrants).filter(({ running }) => running.ledgerRows !== undefined)) {
    const { running, subject } = entrant;
    await attempt(rig, entrant, async () => {
      const before = await ledgerAtRest(running);
      const question = { port: running.port, path: chatPath, headers: running.headers, body: chatRequest(200) };
      const answered = await askMany(question, { total, connections: 16 });
      const rows = (await ledgerAtRest(running)) - before;
      rig.say(`${subject.id}: ${answered} of ${total} requests answered, ${rows} rows`);
      checks.push({ subject: subject.id, asked: total, answered, rows });
    });
  }
  return checks;
}

type UnaryPart = Pick<Measured, 'unary' | 'latency' | 'fixedRate' | 'governed' | 'badKey'>;

async function runUnarySide(rig: Rig, entrants: readonly Entrant[], options: Options): Promise<UnaryPart> {
  const { rounds, seconds, warmUpSeconds } = options;
  for (const entrant of liveOnes(entrants)) {
    rig.say(`warming up ${entrant.subject.id}`);
    await attempt(rig, entrant, () => warmUp(rig, entrant, options.firstWarmUp));
  }
  const plan = { rounds, seconds, warmUpSeconds, connections };
  const unary = await runUnaryRounds(rig, entrants, { ...plan, bodyBytes: smallBodyBytes });
  const governed = await checkLedgers(rig, entrants, options.isThorough ? 5_000 : 1_000);
  if (!options.isThorough) return { unary, governed, latency: [], fixedRate: [], badKey: [] };
  const latency = await runLatency(rig, entrants, { repeats: 3, seconds: 3 });
  const fixedRate = await runAtHalfOfOurMaximum(rig, entrants, unary);
  const badKey = await floodWithBadKeys(rig, entrants, seconds);
  const brief = { rounds: Math.min(rounds, 3), seconds: Math.min(seconds, 4), warmUpSeconds: 1, connections };
  for (const bodyBytes of options.bodies) unary.push(...(await runUnaryRounds(rig, entrants, { ...brief, bodyBytes })));
  return { unary, governed, latency, fixedRate, badKey };
}

async function runAtHalfOfOurMaximum(
  rig: Rig,
  entrants: readonly Entrant[],
  unary: Measured['unary'],
): Promise<LatencyRun[]> {
  const figures = unaryFigures(countedRows(unary, smallBodyBytes), governedId);
  const ours = figures.requestsPerSecond?.median;
  if (ours === undefined) return [];
  const runners = entrants.filter(({ subject }) => [witness, floor, governedId].includes(subject.id));
  return runFixedRates(rig, runners, { repeats: 3, seconds: 5, requestsPerSecond: ours / 2 });
}

async function floodWithBadKeys(rig: Rig, entrants: readonly Entrant[], seconds: number): Promise<BadKeyRun[]> {
  const entrant = entrants.find(({ subject }) => subject.id === governedId);
  const runs: BadKeyRun[] = [];
  if (entrant === undefined || !isLive(entrant)) return runs;
  rig.say('bad-key flood');
  await attempt(rig, entrant, async () => {
    runs.push(await runBadKeyFlood(rig, entrant, Math.min(seconds, 5)));
  });
  return runs;
}

type StreamPart = { side: Side; rounds: Measured['streams']; idleStreamBytes: Map<string, number> };

async function runStreamSide(
  rig: Rig,
  subjects: readonly Subject[],
  { options, mockPort }: { options: Options; mockPort: number },
): Promise<StreamPart> {
  // A smoke run asks nothing that needs the streams of these.
  const wanted = subjects.filter(({ id }) => options.isThorough || ![witness, plainId].includes(id));
  const side = await enterAll(rig, wanted, mockPort);
  for (const entrant of liveOnes(side.entrants)) {
    rig.say(`warming up ${entrant.subject.id} with streams`);
    await attempt(rig, entrant, async () => {
      await verifyStream(entrant.running, mockPort);
      await warmUpStreams(rig, entrant, options.streams.burstSeconds);
    });
    // Wrong bytes are no matter of noise: what is not right is not timed.
    entrant.failure = entrant.lastProblem;
  }
  const rounds = await runStreamRounds(rig, side.entrants, options.streams);
  const idleStreamBytes = new Map<string, number>();
  const holders = liveOnes(side.entrants).filter(({ running }) => running.pids.length > 0);
  for (const entrant of options.isThorough ? holders : []) {
    rig.say(`${idleStreams} idle streams through ${entrant.subject.id}`);
    await attempt(rig, entrant, async () => {
      idleStreamBytes.set(entrant.subject.id, await measureIdleStreams(rig, entrant, idleStreams));
    });
  }
  await leaveAll(side);
  return { side, rounds, idleStreamBytes };
}

async function startAgain(rig: Rig, subject: Subject, purpose: Purpose): Promise<StartRun | null> {
  const entrant = await enter(rig, subject, purpose);
  if (!isLive(entrant)) return null;
  await sleep(1_000);
  const { firstReplyMs, pids } = entrant.running;
  const idleBytes = rig.cpu.residentBytes(pids);
  await entrant.running.stop();
  return firstReplyMs === null ? null : { subject: subject.id, storage: purpose.storage, firstReplyMs, idleBytes };
}

async function runStarts(rig: Rig, subjects: readonly Subject[], upstreamPort: number): Promise<StartRun[]> {
  const runs: StartRun[] = [];
  for (const subject of subjects.filter(({ id }) => id !== witness)) {
    for (const storage of subject.hasEmbeddedMode ? (['databases', 'embedded'] as const) : (['databases'] as const)) {
      for (let repeat = 0; repeat < startRepeats; repeat += 1) {
        const run = await startAgain(rig, subject, { upstreamPort, storage });
        if (run === null) break;
        runs.push(run);
      }
    }
  }
  return runs;
}

/** null when there is something to show for it. */
function reasonFor(entrant: Entrant | undefined, rows: readonly { subject: string }[]): string | null {
  if (entrant === undefined) return 'not in this run';
  if (rows.some(({ subject }) => subject === entrant.subject.id)) return null;
  return entrant.failure ?? entrant.lastProblem ?? 'not in this run';
}

function describe(unary: Side, streams: StreamPart, rows: Measured['unary']): SubjectRecord[] {
  return unary.entrants.map((entrant) => {
    const { id, title } = entrant.subject;
    const other = streams.side.entrants.find(({ subject }) => subject.id === id);
    const reason = reasonFor(entrant, rows);
    return {
      id,
      title,
      unary: reason,
      streams: reasonFor(other, streams.rounds) === null ? null : (reason ?? reasonFor(other, streams.rounds)),
      fidelity: entrant.fidelity,
      idleBytes: unary.idleBytes.get(id) ?? null,
      loadedBytes: unary.loadedBytes.get(id) ?? null,
      idleStreamBytes: streams.idleStreamBytes.get(id) ?? null,
      firstReplyMs: entrant.running?.firstReplyMs ?? null,
      notes: entrant.running?.notes ?? [],
    };
  });
}

export async function runTournament(rig: Rig, subjects: readonly Subject[], options: Options): Promise<Measured> {
  const unaryPort = await freePort();
  await startUnaryMock(rig.processes, unaryPort, {
    name: 'mock',
    directory: rig.scratchDirectory,
    core: rig.loadCore,
  });
  const streamPort = await startStreamMock(rig.processes, rig.scratchDirectory, { core: rig.loadCore });
  const side = await enterAll(rig, subjects, unaryPort);
  await sleep(1_000);
  side.idleBytes = readMemory(rig, side.entrants);
  const unary = await runUnarySide(rig, side.entrants, options);
  side.loadedBytes = readMemory(rig, side.entrants);
  await leaveAll(side);
  const able = subjects.filter(({ id }) => side.entrants.find(({ subject }) => subject.id === id)?.running !== null);
  const streams = await runStreamSide(rig, able, { options, mockPort: streamPort });
  const starts = options.isThorough ? await runStarts(rig, able, unaryPort) : [];
  return { ...unary, subjects: describe(side, streams, unary.unary), streams: streams.rounds, starts };
}
