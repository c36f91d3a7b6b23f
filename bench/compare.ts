/** Sets a run against the committed record. It points at regressions and blocks nothing: a person decides. */
import type { BenchRecord } from './record.ts';
import { formatNumber, markdownTable } from './table.ts';
import { targetFigures } from './targets.ts';

const notable = 0.1;

export function compareTable(now: BenchRecord, then: BenchRecord): string {
  const before = targetFigures(then);
  const rows = targetFigures(now).flatMap((figure) => {
    const old = before.find(({ id, metric }) => id === figure.id && metric === figure.metric);
    if (figure.value === null || old === undefined || old.value === null || old.value === 0) return [];
    const change = figure.value / old.value - 1;
    const isWorse = figure.better === 'lower' ? change > notable : change < -notable;
    const isBetter = figure.better === 'lower' ? change < -notable : change > notable;
    return [
      [
        figure.id,
        figure.metric,
        `${formatNumber(old.value)} ${figure.unit}`.trim(),
        `${formatNumber(figure.value)} ${figure.unit}`.trim(),
        `${change >= 0 ? '+' : ''}${formatNumber(change * 100, 1)} %`,
        isWorse ? 'worse by more than 10 %' : isBetter ? 'better by more than 10 %' : '',
      ],
    ];
  });
  const title = `Against ${then.commit} of ${then.date.slice(0, 10)} on ${then.machine.cpuModel}:`;
  return `${title}\n\n${markdownTable(['#', 'metric', 'then', 'now', 'change', ''], rows)}`;
}
