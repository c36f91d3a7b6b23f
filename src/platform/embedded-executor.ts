/**
 * Runs SQL scripts on the embedded database for a library that expects a server's pool. The embedded one has a single
 * connection, which Kysely guards: going past it would put our statements into somebody's open transaction. Its driver
 * takes one statement at a time, so a script is run piece by piece while the connection is held.
 */
import { CompiledQuery, type Kysely } from 'kysely';

export type SqlExecutor = { executeSql(text: string, values?: unknown[]): Promise<{ rows: object[] }> };

export function createEmbeddedExecutor<Schema>(db: Kysely<Schema>): SqlExecutor {
  return {
    executeSql: (text, values = []) =>
      db.connection().execute(async (connection) => {
        const run = async (statement: string, parameters: unknown[] = []): Promise<object[]> =>
          (await connection.executeQuery<object>(CompiledQuery.raw(statement, parameters))).rows;
        try {
          if (values.length > 0) return { rows: await run(text, values) };
          const rows: object[] = [];
          for (const statement of splitScript(text)) rows.push(...(await run(statement)));
          return { rows };
        } catch (error) {
          // A server's pool would hand out another connection; here the failed transaction has to go.
          await run('rollback');
          throw error;
        }
      }),
  };
}

const scriptToken =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$(?:[a-z_]\w*)?\$)[\s\S]*?\1|--[^\n]*|\/\*[\s\S]*?\*\/|;|[^'"$;/-]+|./gi;

/** At semicolons that stand in no text, name, function body or comment. */
export function splitScript(script: string): readonly string[] {
  const statements = [''];
  for (const [token] of script.matchAll(scriptToken)) {
    if (token === ';') statements.push('');
    else statements.push(`${statements.pop() ?? ''}${token}`);
  }
  return statements.map((statement) => statement.trim()).filter((statement) => statement !== '');
}
