/** Cold start as a caller sees it: from the start of the process to the first request answered with 200. */
import { chatPath, chatRequest } from '../mock/replies.ts';
import { ask, waitUntil } from '../network.ts';
import type { RunningProcess } from '../processes.ts';

export type FirstReply = {
  port: number;
  headers: Readonly<Record<string, string>>;
  owner: RunningProcess;
  startedAtMs: number;
  patienceMs?: number;
};

export async function firstReply(wanted: FirstReply): Promise<number> {
  const body = chatRequest(200);
  let lastAnswer = 'nothing';
  const isServed = (): Promise<boolean> =>
    ask({ port: wanted.port, path: chatPath, headers: wanted.headers, body, timeoutMs: 5_000 }).then(
      (reply) => {
        lastAnswer = `${reply.status} ${reply.body.toString('utf8', 0, 300)}`;
        return reply.status === 200;
      },
      () => false,
    );
  try {
    await waitUntil(isServed, wanted.owner, wanted.patienceMs ?? 30_000);
  } catch (cause) {
    throw new Error(`${cause instanceof Error ? cause.message : String(cause)}; last answer: ${lastAnswer}`, { cause });
  }
  return performance.now() - wanted.startedAtMs;
}
