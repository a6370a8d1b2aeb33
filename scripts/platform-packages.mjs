// Used by the release workflow: turns the addons in a folder into one npm package per platform,
// and makes them optional dependencies of the main package, at the same version.
//
//   node scripts/platform-packages.mjs FOLDER
//
// FOLDER holds files named flowtrace-ipc.<target>.node; packages are written to npm/<target>.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './tools.mjs';

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: node scripts/platform-packages.mjs FOLDER');
  process.exit(2);
}

const manifestPath = join(root, 'package.json');
const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
manifest.optionalDependencies = {};

for (const file of readdirSync(folder).sort()) {
  const target = /^flowtrace-ipc\.(.+)\.node$/.exec(file)?.[1];
  if (target === undefined) continue;
  const [os, cpu, abi] = target.split('-');
  const name = `${manifest.name}-${target}`;
  const out = join(root, 'npm', target);
  mkdirSync(out, { recursive: true });
  copyFileSync(join(folder, file), join(out, file));
  const { version, license, engines, repository, publishConfig } = manifest;
  const libc = abi === undefined ? {} : { libc: [abi === 'gnu' ? 'glibc' : abi] };
  const platform = {
    name,
    version,
    description: `The native addon of ${manifest.name} for ${target}`,
    license,
    repository,
    engines,
    publishConfig,
    main: file,
    files: [file],
    os: [os],
    cpu: [cpu],
    ...libc,
  };
  writeFileSync(join(out, 'package.json'), `${JSON.stringify(platform, null, 2)}\n`);
  manifest.optionalDependencies[name] = version;
}

// The main package finds its addon in those packages, so it carries none itself.
manifest.files = manifest.files.filter((file) => !file.endsWith('.node'));
writeFileSync(manifestPath, `${JSON.stringify(manifest, null, 2)}\n`);
