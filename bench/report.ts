/** The whole report of a run as Markdown, from its record alone. */
import { ledgerHolds, type BenchRecord, type SubjectRecord } from './record.ts';
import { countedRows, judgeRounds, streamFigures, unaryFigures, witness } from './rounds.ts';
import { quantile } from './statistics.ts';
import { emptyCell, formatMegabytes, formatNumber, formatSummary, markdownTable, shorten } from './table.ts';
import { bodySlope, smallestBody, targetFigures, verdictOf } from './targets.ts';

function headline(record: BenchRecord): string {
  const { machine } = record;
  const pinning =
    machine.subjectCore === null
      ? 'nothing pinned: the machine has one core'
      : `the subject alone on core ${machine.subjectCore}, load, mock and databases on core ${machine.loadCore}`;
  const tools = Object.entries(machine.tools).map(([name, version]) => `${name} ${version}`);
  return [
    `Commit ${record.commit}${record.isDirty ? ' with changes' : ''}, ${record.date.slice(0, 10)}, ${record.kind} run: ` +
      `${record.rounds} rounds of ${record.seconds} s, ${record.connections} connections.`,
    `Machine: ${machine.cpuModel}, ${machine.cores} cores, ${formatNumber(machine.memoryBytes / 1e9, 0)} GB, Linux ${machine.kernel}; ${pinning}.`,
    `Node ${machine.node}, ${tools.join(', ')}.`,
  ].join('\n');
}

function roundsSentence(record: BenchRecord): string {
  const sizes = [...new Set(record.unary.map(({ bodyBytes }) => bodyBytes))];
  return sizes
    .map((bytes) => {
      const rows = record.unary.filter((row) => row.bodyBytes === bytes);
      const { kept, dropped, isIndicative } = judgeRounds(rows);
      const reasons = dropped.map(({ round, reason }) => `${round} (${reason})`).join(', ');
      if (dropped.length === 0) return `Body of ${bytes} bytes: all ${kept.length} rounds count.`;
      if (isIndicative) {
        return `Body of ${bytes} bytes: no round passed the rule, the machine was noisy; all are used and only indicate: ${reasons}.`;
      }
      return `Body of ${bytes} bytes: ${kept.length} rounds count, dropped: ${reasons}.`;
    })
    .join('\n');
}

function unaryTable(record: BenchRecord): string {
  const rows = countedRows(record.unary, smallestBody(record));
  const head = [
    'subject',
    'CPU us/request',
    '/ P',
    'requests/s',
    'p50 us',
    'p99 us',
    'added p50 us, 1 connection',
    'reply',
    'note',
  ];
  const one = (id: string): number =>
    quantile(
      record.latency.filter(({ subject }) => subject === id).map(({ p50Us }) => p50Us),
      0.5,
    );
  const lines = record.subjects.map((subject) => {
    if (subject.unary !== null) return [subject.title, shorten(subject.unary)];
    const figures = unaryFigures(rows, subject.id);
    return [
      subject.title,
      formatSummary(figures.cpuUs),
      formatSummary(figures.ratio, { digits: 2 }),
      formatNumber(figures.requestsPerSecond?.median ?? Number.NaN),
      formatNumber(figures.p50Us?.median ?? Number.NaN, 0),
      formatNumber(figures.p99Us?.median ?? Number.NaN, 0),
      subject.id === witness ? `(${formatNumber(one(witness), 0)})` : formatNumber(one(subject.id) - one(witness), 0),
      subject.fidelity === 'bytes' ? 'same bytes' : subject.fidelity === 'content' ? 'same content' : emptyCell,
      [...figures.marks, ...(figures.badReplies > 0 ? [`${figures.badReplies} wrong replies`] : [])].join(', '),
    ];
  });
  return markdownTable(head, lines);
}

function streamTable(record: BenchRecord): string {
  const lines = record.subjects.map((subject) => {
    if (subject.streams !== null) return [subject.title, shorten(subject.streams)];
    const figures = streamFigures(record.streams, subject.id);
    return [
      subject.title,
      formatSummary(figures.cpuUsPerEvent),
      formatSummary(figures.ratio, { digits: 2 }),
      formatSummary(figures.ttftP50Us, { digits: 0 }),
      formatSummary(figures.gapP99Us, { digits: 0 }),
      formatNumber((subject.idleStreamBytes ?? Number.NaN) / 1e3),
    ];
  });
  return markdownTable(
    ['subject', 'CPU us/event', '/ P', 'first token p50 us', 'gap p99 us', 'KB per idle stream'],
    lines,
  );
}

function bodyTable(record: BenchRecord): string | null {
  const sizes = [...new Set(record.unary.map(({ bodyBytes }) => bodyBytes))].sort((left, right) => left - right);
  if (sizes.length < 2) return null;
  const measured = record.subjects.filter(({ id, unary }) => unary === null && id !== witness);
  const cell = (id: string, bytes: number): string => {
    const figures = unaryFigures(countedRows(record.unary, bytes), id);
    const ratio = figures.ratio === null ? '' : `, ${formatNumber(figures.ratio.median, 2)} P`;
    return figures.cpuUs === null ? emptyCell : `${formatNumber(figures.cpuUs.median)}${ratio}`;
  };
  return markdownTable(
    ['CPU us/request', ...sizes.map((bytes) => `${formatNumber(bytes / 1000, bytes < 1000 ? 1 : 0)} KB`), 'us per KB'],
    measured.map(({ id, title }) => [
      title,
      ...sizes.map((bytes) => cell(id, bytes)),
      formatNumber(bodySlope(record, id) ?? Number.NaN),
    ]),
  );
}

function memoryTable(record: BenchRecord): string {
  const starts = (id: string, storage: string): string => {
    const runs = record.starts.filter((run) => run.subject === id && run.storage === storage);
    const text = formatNumber(
      quantile(
        runs.map(({ firstReplyMs }) => firstReplyMs),
        0.5,
      ),
      0,
    );
    return runs.length === 0 ? '' : text;
  };
  const idle = (id: string): string => {
    const run = record.starts.find((start) => start.subject === id && start.storage === 'embedded');
    return run === undefined ? '' : formatMegabytes(run.idleBytes);
  };
  const measured = record.subjects.filter(({ id, unary }) => unary === null && id !== witness);
  const lines = measured.map((subject: SubjectRecord) => [
    subject.title,
    formatMegabytes(subject.idleBytes),
    formatMegabytes(subject.loadedBytes),
    starts(subject.id, 'databases') || formatNumber(subject.firstReplyMs ?? Number.NaN, 0),
    idle(subject.id),
    starts(subject.id, 'embedded'),
  ]);
  return markdownTable(
    ['subject', 'MB idle', 'MB after load', 'ms to first 200', 'MB idle, embedded', 'ms to first 200, embedded'],
    lines,
  );
}

function targetTable(record: BenchRecord): string {
  const lines = targetFigures(record).map((figure) => {
    const sign = figure.better === 'lower' ? '<=' : '>=';
    const [gate, goal, moonshot] = figure.marks.map((mark) => `${sign} ${mark} ${figure.unit}`.trim());
    return [
      figure.id,
      figure.metric,
      figure.value === null
        ? `(${shorten(figure.missing, 60)})`
        : `${formatNumber(figure.value)} ${figure.unit}`.trim(),
      gate ?? '',
      goal ?? '',
      moonshot ?? '',
      verdictOf(figure),
    ];
  });
  return markdownTable(['#', 'metric', 'measured', 'gate', 'goal', 'moonshot', 'reached'], lines);
}

function notes(record: BenchRecord): string {
  const governed = record.governed.map((check) => {
    const refused = check.asked - check.answered;
    const words = [
      `${formatNumber(check.answered, 0)} of ${formatNumber(check.asked, 0)} requests answered`,
      `${formatNumber(check.rows, 0)} rows in the ledger`,
      ...(refused === 0 ? [] : [`${refused} refused`]),
      ...(ledgerHolds(check) ? [] : ['THE LEDGER DOES NOT HOLD']),
    ];
    return `- ${check.subject}: ${words.join(', ')}.`;
  });
  const own = record.subjects.flatMap(({ id, notes: words }) => words.map((word) => `- ${id}: ${word}.`));
  return [...governed, ...own].join('\n');
}

export function renderReport(record: BenchRecord): string {
  const body = bodyTable(record);
  return [
    headline(record),
    '**Unary requests**, body of 0.2 KB, reply of 1 KB; median of the rounds (quartiles). P is the honest floor of Node.',
    unaryTable(record),
    roundsSentence(record),
    ...(record.streams.length > 0
      ? [
          `**Streams**: ${record.streams[0]?.streams} open, an event every ${record.streams[0]?.gapMs} ms; the cost of the request is spread over its events.`,
          streamTable(record),
        ]
      : []),
    ...(body === null ? [] : ['**Size of the body**', body]),
    '**Memory and start**',
    memoryTable(record),
    '**Targets**',
    targetTable(record),
    '**What was on**',
    notes(record),
  ].join('\n\n');
}
