const defaultPort = 8080;

/** The port alone, without reading a file: a health check must start in a blink. */
export function listenPort(environment: Readonly<Record<string, string | undefined>> = process.env): number {
  const port = Number(environment['PORT']);
  return Number.isInteger(port) && port > 0 ? port : defaultPort;
}
