import t from 'tap';
import { parseWrkOutput, wrkScript } from '../../bench/wrk.ts';

const output = `Running 1s test @ http://127.0.0.1:8080/v1/chat/completions
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.06ms  211.44us   4.29ms   83.86%
  59034 requests in 1.10s, 70.33MB read
Requests/sec:  53664.12
tollgate-bench 59034 1100061 73746432 1055 1789 0 0
`;

t.test('parseWrkOutput reads the one line of our script when wrk has printed its own around it', (t) => {
  t.same(parseWrkOutput(output), {
    requests: 59_034,
    durationUs: 1_100_061,
    bytes: 73_746_432,
    p50Us: 1055,
    p99Us: 1789,
    badStatus: 0,
    socketErrors: 0,
  });
  t.end();
});

t.test('parseWrkOutput gives null when the line is missing, short or no number', (t) => {
  t.equal(parseWrkOutput('unable to connect to 127.0.0.1:1 Connection refused\n'), null);
  t.equal(parseWrkOutput('tollgate-bench 1 2 3\n'), null);
  t.equal(parseWrkOutput('tollgate-bench 1 2 3 4 5 6 nan\n'), null);
  t.end();
});

t.test('wrkScript posts the body of the file with every header when it is generated', (t) => {
  const script = wrkScript({ authorization: 'Bearer sk-"x"' }, '/tmp/body.json');
  t.match(script, 'wrk.method = "POST"');
  t.match(script, 'io.open("/tmp/body.json", "rb")');
  t.match(script, 'wrk.headers["content-type"] = "application/json"');
  t.match(script, 'wrk.headers["authorization"] = "Bearer sk-\\"x\\""');
  t.end();
});
