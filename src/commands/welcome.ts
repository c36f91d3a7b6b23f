/** What a person at a terminal reads when the gateway is up: where it is, the key (once), and one command that streams. */
import type { GatewayConfig } from '../config/types.ts';

export type Welcome = {
  config: GatewayConfig;
  port: number;
  /** null: keys exist already, or the operator brought one. */
  firstKey: string | null;
  mode: { database: string; limits: string };
  /** One that this configuration can answer. */
  model: string;
};

export function welcome({ config, port, firstKey, mode, model }: Welcome): string {
  const url = `http://${config.host === '0.0.0.0' || config.host === '127.0.0.1' ? 'localhost' : config.host}:${port}`;
  const key = firstKey ?? '$TOLLGATE_API_KEY';
  const providers = config.providers.map(({ id }) => id).join(', ');
  return `
  Tollgate is up at ${url}
  providers  ${providers === '' ? 'none yet: set <PROVIDER>_API_KEY' : providers}
  database   ${mode.database}, limits ${mode.limits}
${firstKey === null ? keyHint(config) : `  API key    ${firstKey}   (shown only now)\n`}
  Try it:
    curl -N ${url}/v1/chat/completions \\
      -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\
      -d '{"model": "${model}", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'

  Any OpenAI SDK: base URL ${url}/v1, and the key above.

`;
}

function keyHint(config: GatewayConfig): string {
  if (config.bootstrapKey !== null) return '  API key    the one in TOLLGATE_BOOTSTRAP_KEY\n';
  const stop = config.databaseUrl === null ? ' (stop this process first: one process per data folder)' : '';
  return `  API key    a new one: node src/main.ts keys create --email you@example.com --tier pro --name laptop${stop}\n`;
}
