/** Looks at whole replies before and after they are counted: the right status, the right bytes. */
import { chatPath, streamRequest, unaryReply, type StreamShape } from './mock/replies.ts';
import { ask } from './network.ts';
import type { RunningSubject } from './subjects/subject.ts';

export type Check = { fidelity: 'bytes' | 'content' } | { problem: string };

type ChatReply = {
  id?: unknown;
  choices?: { message?: { content?: unknown } }[];
  usage?: { total_tokens?: unknown };
};

function essence(text: string): string {
  try {
    const { id, choices, usage } = JSON.parse(text) as ChatReply;
    return JSON.stringify([id, choices?.[0]?.message?.content, usage?.total_tokens]);
  } catch {
    return '';
  }
}

/** Byte for byte, or at least the same id, text and usage: some peers write the JSON anew. */
export function judgeReply(status: number, body: string): Check {
  if (status !== 200) return { problem: `status ${status}: ${body.slice(0, 300)}` };
  if (body === unaryReply) return { fidelity: 'bytes' };
  if (essence(body) === essence(unaryReply)) return { fidelity: 'content' };
  return { problem: `a reply with other content: ${body.slice(0, 300)}` };
}

export async function checkUnary(running: RunningSubject, body: string): Promise<Check> {
  const reply = await ask({ port: running.port, path: chatPath, headers: running.headers, body }).catch(
    (error: unknown) => ({ status: 0, body: Buffer.from(String(error)) }),
  );
  return judgeReply(reply.status, reply.body.toString());
}

const shapes: readonly StreamShape[] = [
  { gapMs: 2, deltas: 16 },
  { gapMs: 0, deltas: 64 },
];

/** Paced and in one burst, against what the mock itself sends. Throws with the reason. */
export async function verifyStream(running: RunningSubject, mockPort: number): Promise<void> {
  for (const shape of shapes) {
    const body = streamRequest(shape);
    const wanted = await ask({ port: mockPort, path: chatPath, body });
    const got = await ask({ port: running.port, path: chatPath, headers: running.headers, body });
    if (got.status !== 200) throw new Error(`status ${got.status} for a stream: ${got.body.toString().slice(0, 200)}`);
    if (got.body.equals(wanted.body)) continue;
    throw new Error(
      `the stream arrives with ${got.body.length} bytes instead of ${wanted.body.length}: ${got.body.toString().slice(-200)}`,
    );
  }
}
