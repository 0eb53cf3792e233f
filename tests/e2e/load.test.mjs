// The load tester against the real server, and a browser among its points.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { bounded, join, openPage, output, received, startChromium, startLoad, startServer, until } from './harness.mjs';

let server, browser;
before(async () => {
  server = await startServer();
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Plays points; resolves with the result and exit code when the tester has ended. */
const play = (points, seconds, ...more) => tester('room', '--points', points, '--seconds', seconds, ...more);

function tester(what, ...more) {
  const { child: load } = startLoad([what, '--url', server.http, '--token', server.token, '--json', '-', ...more.map(String)],
    { stdio: ['ignore', 'pipe', 'pipe'] });
  let [text, words] = ['', ''];
  load.stderr.on('data', (chunk) => { words = (words + chunk).slice(-4_000); });
  load.stdout.on('data', (chunk) => { text += chunk; });
  return once(load, 'close').then(([code]) => ({ code, ...(text && JSON.parse(text)), words: code === 0 ? '' : words }));
}

/** A file of limits, until the next one. */
async function limits(text) {
  const file = path.join(output, 'slo.toml');
  await writeFile(file, text);
  return file;
}

test('20 points for 30 s: nothing lost after repair, nothing out of order', bounded, async (t) => {
  const result = await play(20, 30);
  t.diagnostic(JSON.stringify(result));
  assert.deepEqual([result.code, result.joined, result.packets_lost_after_repair, result.continuity_errors], [0, 20, 0, 0]);
});

test('40 lean points, three of which check everything: nothing lost, nothing wrong, and the server is looked at', bounded, async (t) => {
  const result = await play(40, 15, '--stack', 'lean', '--verify', '3', '--join-pause', '20', '--pid', String(server.node_pid), '--metrics', server.metrics);
  t.diagnostic(JSON.stringify(result));
  assert.deepEqual([result.code, result.joined, result.packets_lost_after_repair, result.continuity_errors], [0, 40, 0, 0], result.words);
  for (const key of ['server_cpu_us_per_forwarded', 'gso_run_mean', 'first_key_frame_ms_p50', 'latency_ms_p99']) assert.ok(result[key] > 0, key);
});

test('a storm keeps its limits, for those who stand there too', bounded, async (t) => {
  const slo = await limits('packets_lost_after_repair = 0\ncontinuity_errors = 0\njoin_ms_max = 5000\n[least]\njoined = 45\nstanding_streams = 1\n');
  const result = await tester('storm', '--points', 45, '--standing', 5, '--within', 0, '--seconds', 4, '--slo', slo);
  t.diagnostic(JSON.stringify(result));
  assert.deepEqual([result.code, result.joined, result.points], [0, 45, 45], result.words);
  assert.ok(result.standing_picture_gap_ms_max > 0, 'it was looked');
});

test('seats that others take again and again lose nothing', bounded, async (t) => {
  const connected = async () => Number(/^diemcau_handshakes_total\{result="connected"\} (\d+)/m.exec(await (await fetch(server.metrics)).text())[1]);
  const before = await connected();
  const result = await tester('churn', '--points', 6, '--stay', 2, '--seconds', 9);
  t.diagnostic(JSON.stringify(result));
  assert.deepEqual([result.code, result.packets_lost_after_repair, result.continuity_errors], [0, 0, 0], result.words);
  const lives = await connected() - before;
  assert.ok(lives >= 12, `${lives} points came, one after the other`);
});

test('a limit that is not kept fails and is named; one that cannot be read is a bad argument', bounded, async () => {
  const broken = await tester('room', '--points', 2, '--seconds', 2, '--slo', await limits('[least]\npackets_forwarded = 1000000000\n'));
  assert.equal(broken.code, 1);
  assert.match(broken.words, /packets_forwarded is \d+, at least 1000000000 is wanted/);
  const unread = await tester('room', '--points', 2, '--seconds', 2, '--slo', await limits('packets_fowarded = 1\n'));
  assert.equal(unread.code, 2);
  assert.match(unread.words, /packets_fowarded/);
});

test('a browser in the same room decodes every point of the load tester and hears them', bounded, async (t) => {
  const page = await openPage(browser, server.join_url);
  await join(page, 'Người xem');
  const load = play(5, 30);
  const pictures = async () => (await received(page)).filter((s) => s.kind === 'video' && s.frames > 0);
  await until('five pictures', pictures, (s) => s.length >= 5, 20);
  const before = await pictures();
  await new Promise((resolve) => setTimeout(resolve, 8_000));
  const after = await received(page);
  const rates = before.map((b) => ((after.find((s) => s.ssrc === b.ssrc)?.frames ?? 0) - b.frames) / 8);
  const voices = after.filter((s) => s.kind === 'audio' && s.energy > 0).length;
  await page.screenshot({ path: path.join(output, 'meeting-of-six.png') });
  const result = await load;
  t.diagnostic(`${rates.map((r) => r.toFixed(1)).join(', ')} frames/s, ${voices} voices; ${JSON.stringify(result)}`);
  assert.ok(rates.every((r) => r >= 10), `${rates}`);
  assert.ok(voices >= 5, `${voices} voices`);
  assert.deepEqual([result.packets_lost_after_repair, result.continuity_errors], [0, 0]);
});
