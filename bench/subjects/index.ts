/** Everything that can be measured, in the order of the table. */
import { bareDispatch } from './bare-dispatch.ts';
import { direct } from './direct.ts';
import { nginx } from './nginx.ts';
import { portkey } from './portkey.ts';
import type { Subject } from './subject.ts';
import { tollgateGoverned } from './tollgate-governed.ts';
import { tollgatePlain } from './tollgate-plain.ts';

export const subjects: readonly Subject[] = [direct, nginx, bareDispatch, tollgatePlain, tollgateGoverned, portkey];

const smokeIds = ['bare-dispatch', 'tollgate-plain', 'tollgate-governed'];

/** `direct` always comes along: it is the witness of the rig's noise. */
export function chooseSubjects(only: readonly string[] | null, kind: 'smoke' | 'full'): readonly Subject[] {
  const known = new Set(subjects.map(({ id }) => id));
  const unknown = only?.find((id) => !known.has(id));
  if (unknown !== undefined) throw new Error(`no subject is called "${unknown}"; there are ${[...known].join(', ')}`);
  const wanted = only ?? (kind === 'smoke' ? smokeIds : [...known]);
  return subjects.filter(({ id }) => id === direct.id || wanted.includes(id));
}
