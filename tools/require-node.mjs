// Loaded before every script of package.json (node --import). Plain JavaScript, so that an old Node can read it and say what is wrong.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  console.error(
    `Supercargo's tools need Node 24.15 or newer, and this is Node ${major}.${minor} (${process.execPath}).\n` +
      'Run `npm ci` once: it installs Node 24 into node_modules/.bin, where `npm run` finds it.',
  );
  process.exit(1);
}
