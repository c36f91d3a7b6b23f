/** Vertex AI: where its models are, and as whom it is asked. */
import t from 'tap';
import { vertex } from '../../providers/vertex.ts';

const target = { upstreamModel: 'gemini-3.6-flash', model: null };

t.test('finds the models of a project at its place', (t) => {
  const hosts: Record<string, string> = {
    global: 'https://aiplatform.googleapis.com',
    'europe-west4': 'https://europe-west4-aiplatform.googleapis.com',
    eu: 'https://aiplatform.eu.rep.googleapis.com',
  };
  for (const [location, host] of Object.entries(hosts)) {
    const configured = vertex.configure?.({ project: 'maps-1', location });
    const models = `/v1beta1/projects/maps-1/locations/${location}/publishers/google/models`;
    const chat = configured?.endpoints.chat;
    t.equal(configured?.baseUrl, host);
    t.equal(chat?.path(target, false), `${models}/gemini-3.6-flash:generateContent`);
    t.equal(chat?.path(target, true), `${models}/gemini-3.6-flash:streamGenerateContent?alt=sse`);
  }
  t.equal(vertex.configure?.({ project: 'maps-1' }).baseUrl, hosts.global, 'everywhere is the default');
  t.match(
    vertex.configure?.({ project: 'a' }).endpoints.chat?.path({ ...target, upstreamModel: 'a/b' }, false),
    /a%2Fb:/,
  );
  t.end();
});

t.test('is asked as a service account', (t) => {
  const signing = { scheme: 'service-account', scopes: ['https://www.googleapis.com/auth/cloud-platform'] };
  t.same(vertex.configure?.({ project: 'maps-1' }).signing, signing);
  t.end();
});

t.test('takes settings that name something, and no path', (t) => {
  const { project, location } = vertex.settings ?? {};
  for (const name of ['maps-1', 'example.com:maps', '123456']) t.match(name, project?.pattern);
  for (const name of ['', 'a/b', '../x', 'Maps']) t.notMatch(name, project?.pattern ?? /^/);
  for (const name of ['global', 'eu', 'us-central1', 'northamerica-northeast1']) t.match(name, location?.pattern);
  for (const name of ['', 'a.b', 'x/y', 'us-']) t.notMatch(name, location?.pattern ?? /^/);
  t.match([project?.isRequired, location?.isRequired], [true, false]);
  t.end();
});
