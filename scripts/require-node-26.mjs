// Runs before every npm script that needs Node 26. It is plain JavaScript because an older Node must be able to read it.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 26 || (major === 26 && minor < 5)) {
  process.stderr.write(
    `Tollgate needs Node 26.5 or newer and found ${process.versions.node}. ` +
      'The npm package "node" brings it: run "npm ci" without --ignore-scripts and without NODE_ENV=production, then try again.\n',
  );
  process.exit(1);
}
