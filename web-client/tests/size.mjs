// Gzips what the page loads and compares it with the budget: 90 kB of script, 20 kB of styles.
import { readFileSync, readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const BUDGET = { js: 90_000, css: 20_000 };
const dist = new URL('../dist/assets/', import.meta.url);
const sizes = { js: 0, css: 0 };
for (const name of readdirSync(dist)) {
  const kind = name.split('.').pop();
  if (kind in sizes) sizes[kind] += gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length;
}
for (const [kind, size] of Object.entries(sizes)) {
  console.log(`${kind}: ${(size / 1_000).toFixed(1)} kB gzip of ${BUDGET[kind] / 1_000}`);
  if (size === 0 || size > BUDGET[kind]) process.exitCode = 1;
}
