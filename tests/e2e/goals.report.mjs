// The goals of the media engine that only real browsers can tell of, as rows of the table of `make sim-report`, which runs it: `quality.test.mjs` and
// `direct.report.mjs` are played, and judged by what they left in `output/`. RUNS=1 of the latter; the former has up to three rounds.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { median, output } from './harness.mjs';

/** Plays one of them, and reads what it left; an empty list if it left nothing. What it prints is its own. */
async function play(args, left) {
  const file = path.join(output, left);
  await rm(file, { force: true });
  const child = spawn(process.execPath, args, { cwd: path.dirname(fileURLToPath(import.meta.url)), stdio: ['ignore', 'ignore', 'inherit'] });
  await once(child, 'exit');
  return readFile(file, 'utf8').then(JSON.parse, () => []);
}

const number = (figure) => (Number.isFinite(figure) ? String(Number(figure.toFixed(Math.abs(figure) < 10 ? 2 : 1))) : 'never');

/** One row: `atMost` or at least the goal, in the worst round, too. */
function row(name, [bound, goal], figures) {
  const atMost = bound === '<=';
  const known = figures.map((figure) => figure ?? (atMost ? Infinity : 0));
  const worst = known.length === 0 ? NaN : atMost ? Math.max(...known) : Math.min(...known);
  const held = atMost ? worst <= goal : worst >= goal;
  console.log(`  ${name.padEnd(58)} ${`${bound} ${goal}`.padStart(9)} ${String(known.length).padStart(5)} ` +
    `${number(known.length === 0 ? NaN : median(known)).padStart(9)} ${number(worst).padStart(9)}  ${held ? 'held' : 'short'}`);
}

const { rounds = [] } = await play(['--test', 'quality.test.mjs'], 'quality.json');
const seen = (read) => rounds.map(({ figures }) => read(figures));
console.log('real Chromium: a line of 1.5 Mb/s, then 300 kb/s, then 2.5 Mb/s');
row('voices made up, %', ['<=', 2], seen((f) => f.concealed * 100));
row('longest stand of a picture, s', ['<=', 1], seen((f) => f.still));
row('smaller pictures, s', ['<=', 3], seen((f) => f.down));
row('whole again, s', ['<=', 15], seen((f) => f.up));

const pairs = await play(['direct.report.mjs'], 'direct.json');
console.log('real Chromium: a room of two beside a direct call, 1.5 and 3 Mb/s');
row("estimate, share of the direct call's, %", ['>=', 90], pairs.map(({ direct, room }) => (room.estimate / direct.estimate) * 100));
row("rate used, share of the direct call's, %", ['>=', 85], pairs.map(({ direct, room }) => (room.kbps / direct.kbps) * 100));
