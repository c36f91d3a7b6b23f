/** A plain splitter of SSE text for tests: whole texts only, no bytes, no pieces. The product has its own reader. */
import type { SseEvent } from '../../src/contract/provider.ts';

export function sseEvents(text: string): SseEvent[] {
  return text
    .replaceAll(/\r\n?/g, '\n')
    .split('\n\n')
    .flatMap((block) => {
      const fields = block.split('\n').filter((line) => line !== '' && !line.startsWith(':'));
      const values = (name: string): string[] =>
        fields
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).replace(/^ /, ''));
      const data = values('data');
      return data.length === 0 ? [] : [{ event: values('event').at(-1) ?? '', data: data.join('\n') }];
    });
}

/** Events as they would stand on the wire. */
export function sseText(events: readonly SseEvent[]): string {
  return events.map(({ event, data }) => `${event === '' ? '' : `event: ${event}\n`}data: ${data}\n\n`).join('');
}
