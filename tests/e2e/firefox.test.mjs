// The same meeting with Firefox as one of three.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { assertSound, bounded, join, openPage, output, received, startChromium, startFirefox, startServer, undecoded, until } from './harness.mjs';

let server, chromium, firefox, pages, fox;

before(async () => {
  server = await startServer();
  chromium = await startChromium();
  firefox = await startFirefox();
  pages = [];
  for (const name of ['Hồng Gai', 'Vân Đồn']) {
    const page = await openPage(chromium, server.join_url, { viewport: { width: 800, height: 600 } });
    await join(page, name);
    pages.push(page);
  }
  fox = await firefox.join(server.join_url, 'Cô Tô');
});
after(async () => {
  await firefox?.close();
  await chromium?.close();
  await server?.stop();
});

const foxReceives = () => received(fox);

test('Firefox decodes both others at 10 frames/s or more and they decode Firefox', bounded, async (t) => {
  const pictures = async () => (await foxReceives()).filter((s) => s.kind === 'video' && s.frames > 0);
  await until('two pictures in Firefox', pictures, (s) => s.length >= 2, 30);
  for (const page of pages) await until('two pictures', () => received(page), (s) => s.filter((x) => x.kind === 'video' && x.frames > 0).length >= 2, 30);
  const all = async () => [await foxReceives(), ...(await Promise.all(pages.map(received)))];
  const first = await all();
  await new Promise((resolve) => setTimeout(resolve, 20_000));
  const last = await all();
  for (const [i, streams] of last.entries()) {
    const rates = streams.filter((s) => s.kind === 'video')
      .map((s) => (s.frames - (first[i].find((b) => b.ssrc === s.ssrc)?.frames ?? 0)) / 20).sort((a, b) => b - a);
    const voices = streams.filter((s) => s.kind === 'audio' && s.samples > s.concealed && s.packets > 100).length;
    t.diagnostic(`${['Firefox', 'Chromium 1', 'Chromium 2'][i]}: ${rates.slice(0, 2).map((r) => r.toFixed(1)).join(' and ')} frames/s, ${voices} voices`);
    assert.ok(rates[1] >= 10, `${rates}`);
    assert.ok(voices >= 2, `${voices} voices`);
  }
  for (const page of pages) await assertSound(page);
  assert.equal(await undecoded(fox), 0);
  await fox.screenshot({ path: path.join(output, 'meeting-firefox.png') });
});
