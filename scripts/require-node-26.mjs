// Runs before every npm script that needs Node 26. It is plain JavaScript because an older Node must be able to read it.
// An argument stands in for the version of the running Node, for the test.
const found = process.argv[2] ?? process.versions.node;
const [major = 0, minor = 0] = found.split('.').map(Number);
if (major < 26 || (major === 26 && minor < 5)) {
  process.stderr.write(
    `Tollgate needs Node 26.5 or newer and found ${found}. ` +
      'The npm package "node" brings it: run "npm ci" without --ignore-scripts and without NODE_ENV=production, then try again.\n',
  );
  process.exit(1);
}
