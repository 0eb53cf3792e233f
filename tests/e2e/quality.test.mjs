// Three real pages; the line of one of them becomes thin and wide again (`diemcau-load line`). Figures are reported; asserted
// is what a person would see: a smaller picture with its reason instead of a frozen one, voices all the while, and all of it
// back when the line is.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { freePort } from './behind.mjs';
import { join, openPage, output, ownAddress, received, startChromium, startServer, target, until } from './harness.mjs';

let server, browser, line, viewer;

/** A line between `listen` and the node, told by its standard input. */
function openLine(listen, to, rate) {
  const child = spawn(path.join(target, 'diemcau-load'), ['line', '--listen', `${ownAddress}:${listen}`, '--to', to,
    '--down-rate', String(rate), '--down-delay-ms', '20', '--up-delay-ms', '20', '--queue-ms', '300', '--seed', '7'],
  { stdio: ['pipe', 'pipe', 'inherit'] });
  const opened = { reports: [], say: (words) => child.stdin.write(`${words}\n`), async close() { child.kill('SIGTERM'); await once(child, 'exit'); } };
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (text) => { const report = JSON.parse(text); if (report.down) opened.reports.push(report.down); });
  return once(lines, 'line').then(() => opened);
}

// Runs in the page: its candidates lead to the line instead of the node.
const throughLine = (from, to) => `{
  const native = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function (description) {
    const sdp = description.sdp.replaceAll(/(a=candidate:\\S+ 1 udp \\d+ \\S+) ${from} /gi, '$1 ${to} ');
    return native.call(this, { type: description.type, sdp });
  };
}`;

before(async () => {
  const port = await freePort(ownAddress);
  server = await startServer({
    args: ['--media-port', String(port)],
    env: { DIEMCAU__MEDIA__ADDRESSES: ownAddress, DIEMCAU__MEDIA__LOOPBACK: 'false' },
  });
  const listen = await freePort(ownAddress);
  line = await openLine(listen, `${ownAddress}:${port}`, 2_500);
  browser = await startChromium();
  for (const name of ['Điểm cầu tỉnh', 'Sở Thông tin']) {
    await join(await openPage(browser, server.join_url, { viewport: { width: 800, height: 600 } }), name);
  }
  viewer = await openPage(browser, server.join_url, { init: throughLine(port, listen) });
  await join(viewer, 'UBND đặc khu Cô Tô');
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await line?.close();
});

const pictures = async () => (await received(viewer)).filter((s) => s.kind === 'video' && s.frames > 0);
/** What the tiles get by the server's word: heights and causes. */
const slots = () => viewer.evaluate(() => [...(globalThis.diemcau.figures?.slots.values() ?? [])]);
const shown = async () => (await viewer.evaluate(() => globalThis.diemcau.quality ?? []));
const highest = async () => Math.max(0, ...(await shown()).map((s) => s.height ?? 0));
const causes = async () => [...new Set((await shown()).map((s) => s.cause).filter(Boolean))];
const sum = (list, key) => list.reduce((all, s) => all + s[key], 0);
const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Voices and freezes between two looks. */
async function over(t, what, seconds) {
  const start = await received(viewer);
  await wait(seconds);
  const end = await received(viewer);
  const voices = (list) => list.filter((s) => s.kind === 'audio');
  const samples = sum(voices(end), 'samples') - sum(voices(start), 'samples');
  const concealed = (sum(voices(end), 'concealed') - sum(voices(start), 'concealed')) / Math.max(1, samples);
  const frozen = sum(end, 'freezeSeconds') - sum(start, 'freezeSeconds');
  const kbps = line.reports.slice(-seconds).map((report) => report.kbps);
  t.diagnostic(`${what}: highest ${await highest()}, causes ${await causes()}, concealed ${(concealed * 100).toFixed(2)} %, ` +
    `frozen ${frozen.toFixed(2)} s, line ${Math.min(...kbps)} to ${Math.max(...kbps)} kb/s, ` +
    `queue ${Math.max(...line.reports.slice(-seconds).map((report) => report.queue_ms_max))} ms`);
  return { concealed, frozen };
}

test('a thin line gives a smaller picture with its reason, and voices all the while', async (t) => {
  await until('pictures', pictures, (s) => s.length >= 2, 30);
  const full = await until('the whole picture', highest, (height) => height >= 360, 30);
  await over(t, 'wide', 10);
  await viewer.screenshot({ path: path.join(output, 'quality-wide.png') });

  line.say('down rate=300');
  let began = Date.now();
  await until('a smaller picture', highest, (height) => height < full, 15);
  t.diagnostic(`smaller after ${((Date.now() - began) / 1000).toFixed(1)} s`);
  await until('its reason', causes, (list) => list.includes('path') || list.includes('voices_only'), 15);
  await until('the reason in words', () => viewer.locator('[data-testid=reason], [data-testid=withheld]').count(), (n) => n > 0, 15);
  await wait(3);
  await viewer.screenshot({ path: path.join(output, 'quality-thin.png') });
  const thin = await over(t, 'thin', 15);
  // Of two pictures together: now and then one of them gives way for a moment.
  assert.ok(thin.frozen <= 8, `pictures stood still for ${thin.frozen} of 30 s`);
  assert.ok(thin.concealed <= 0.05, `${thin.concealed} of the voices made up`);

  line.say('down rate=2500');
  began = Date.now();
  await until('the whole picture again', highest, (height) => height >= full, 40);
  t.diagnostic(`whole again after ${((Date.now() - began) / 1000).toFixed(1)} s`);
  await wait(2);
  await viewer.screenshot({ path: path.join(output, 'quality-wide-again.png') });
  assert.ok((await slots()).length > 0);
});
