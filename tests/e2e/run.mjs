// Plays the browser tests, one file after the other (`npm test`; `npm test -- names.test.mjs` plays some), within bounds, and says at the end what was
// skipped. A test has a bound of its own (`bounded` in `harness.mjs`). A file that does not end is ended here: what it started ends with it.
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

/** The longest file takes two minutes; one of its tests may hang, and what follows may suffer from it. */
const FILE_MS = 5 * 60_000;
/** All of them take eleven minutes. */
const WHOLE_MS = 15 * 60_000;

const here = path.dirname(fileURLToPath(import.meta.url));
const named = process.argv.slice(2);
const files = (named.length > 0 ? named : (await readdir(here)).filter((name) => name.endsWith('.test.mjs')).sort()).map((name) => path.resolve(here, name));
if (files.length === 0) throw new Error(`no tests in ${here}`);

const whole = new AbortController();
setTimeout(() => whole.abort(new Error(`the browser tests took longer than ${WHOLE_MS / 60_000} minutes: not played to the end`)), WHOLE_MS).unref();
const skipped = [];
const results = run({ files, concurrency: 1, timeout: FILE_MS, signal: whole.signal });
results.on('test:fail', () => { process.exitCode = 1; });
results.on('test:pass', ({ name, skip }) => { if (skip !== undefined && skip !== false) skipped.push(`${name}: ${skip}`); });
results.compose(new spec()).pipe(process.stdout);
process.on('exit', () => {
  if (skipped.length > 0) console.log(`\nNOT TESTED HERE (${skipped.length} skipped):\n${skipped.map((line) => `  ${line}\n`).join('')}`);
});
