/**
 * Three ways of putting a batch of usage records into Postgres with the same effect: one transaction, ordered by request
 * id, a conflict only ever improves the row. The first is the product's own; the others are what it was chosen over.
 */
import { Client } from 'pg';
import type { UsageRecord } from '../src/contract/flow.ts';
import { openDatabase } from '../src/platform/postgres.ts';
import type { StoreSchema } from '../src/store/schema.ts';
import { columnTypes, insertUsageEvents, rowOf } from '../src/store/usage-events.ts';

export type InsertWay = {
  name: string;
  backendPid: number;
  insert(records: readonly UsageRecord[]): Promise<void>;
  close(): Promise<void>;
};

const types = new Map(Object.entries(columnTypes));
const names = [...types.keys()];
const columnList = names.join(', ');
const improvements = names
  .filter((name) => name !== 'request_id' && name !== 'started_at')
  .map((name) => `${name} = excluded.${name}`)
  .join(', ');
const upsertTail = `order by request_id on conflict (request_id, started_at) do update
  set ${improvements}, inserted_at = excluded.inserted_at where excluded.rank > usage_events.rank`;

type Value = string | number | boolean | null;

/** As the drivers of these ways take them: JSON as text. */
function valuesOf(record: UsageRecord): Value[] {
  return Object.values(rowOf(record)).map((value) =>
    typeof value === 'object' && value !== null ? JSON.stringify(value) : (value as Value),
  );
}

/** What `insertUsageEvents` does: one JSON text for the batch. */
export async function openJsonWay(url: string): Promise<InsertWay> {
  const log = { info: () => {}, warn: () => {} };
  const { db, close } = await openDatabase<StoreSchema>({ url, dataDirectory: '', poolSize: 1, log });
  const { pid } = await db.selectNoFrom(({ fn }) => fn<number>('pg_backend_pid').as('pid')).executeTakeFirstOrThrow();
  return { name: 'json_to_recordset', backendPid: pid, insert: (records) => insertUsageEvents(db, records), close };
}

/** An array for each column, in a statement that the server has parsed before. */
export async function openUnnestWay(url: string): Promise<InsertWay> {
  const { client, backendPid } = await connect(url);
  const arrays = names.map((name, index) => {
    const type = types.get(name) === 'jsonb' ? 'text' : types.get(name);
    return `$${index + 1}::${type}[]`;
  });
  const selected = names.map((name) => (types.get(name) === 'jsonb' ? `${name}::jsonb` : name)).join(', ');
  const text = `insert into usage_events (${columnList}) select ${selected}
    from unnest(${arrays.join(', ')}) as incoming (${columnList}) ${upsertTail}`;
  return {
    name: 'unnest',
    backendPid,
    async insert(records) {
      const rows = records.map(valuesOf);
      await client.query({ name: 'unnest', text, values: names.map((_, column) => rows.map((row) => row[column])) });
    },
    close: () => client.end(),
  };
}

/** COPY knows no conflict, so the rows go into a table of the session's own first. */
export async function openCopyWay(url: string): Promise<InsertWay> {
  const { client, backendPid } = await connect(url);
  await client.query(
    `create temp table incoming on commit delete rows as select ${columnList} from usage_events limit 0`,
  );
  const upsert = {
    name: 'copy',
    text: `insert into usage_events (${columnList}) select * from incoming ${upsertTail}`,
  };
  return {
    name: 'COPY + upsert',
    backendPid,
    async insert(records) {
      const body = records.map((record) => `${valuesOf(record).map(copyText).join('\t')}\n`).join('');
      await client.query('begin');
      await copyIn(client, `copy incoming (${columnList}) from stdin`, Buffer.from(body));
      await client.query(upsert);
      await client.query('commit');
    },
    close: () => client.end(),
  };
}

async function connect(url: string): Promise<{ client: Client; backendPid: number }> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return { client, backendPid: rows[0]?.pid ?? 0 };
}

function copyText(value: Value | undefined): string {
  if (value === null || value === undefined) return '\\N';
  return String(value).replace(/[\\\t\n\r]/g, (character) => copyEscapes[character] ?? character);
}

const copyEscapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

type CopyConnection = { query(text: string): void; sendCopyFromChunk(chunk: Buffer): void; endCopyFrom(): void };

/** The client speaks COPY, but has no call for it: a query of one's own answers its events. */
function copyIn(client: Client, text: string, body: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const query = {
    submit: (connection: unknown): void => (connection as CopyConnection).query(text),
    handleCopyInResponse(connection: CopyConnection): void {
      connection.sendCopyFromChunk(body);
      connection.endCopyFrom();
    },
    handleCommandComplete: (): void => {},
    handleReadyForQuery: (): void => resolve(),
    handleError: (error: unknown): void => reject(error),
  };
  client.query(query);
  return promise;
}
