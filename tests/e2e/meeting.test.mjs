// Three people meet in real browsers through the real server.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { assertSound, bounded, join, openPage, output, received, startChromium, startDoomedChromium, startServer, tiles, undecoded, until } from './harness.mjs';

const names = ['UBND phường Hồng Gai', 'UBND đặc khu Cô Tô', 'UBND xã Bình Liêu'];
const seconds = Number(process.env.E2E_SECONDS ?? 60);
let server, browser, doomed, pages;

before(async () => {
  server = await startServer();
  browser = await startChromium();
  doomed = await startDoomedChromium();
  pages = [];
  for (const [index, name] of names.entries()) {
    const page = await openPage(index === 2 ? doomed.browser : browser, server.join_url);
    await join(page, name);
    pages.push(page);
  }
});
after(async () => {
  await browser?.close();
  await doomed?.kill();
  await server?.stop();
});

const pictures = async (page) => (await received(page)).filter((s) => s.kind === 'video' && s.frames > 0);
const others = (index) => names.filter((_, i) => i !== index).sort();
const shownNames = async (page) => (await tiles(page)).filter((t) => t.source).map((t) => t.name).sort();

test(`each page decodes the two others at 10 frames/s or more for ${seconds} s, and hears them`, { timeout: seconds * 1000 + bounded.timeout }, async (t) => {
  for (const page of pages) await until('two pictures', () => pictures(page), (s) => s.length >= 2, 30);
  const first = await Promise.all(pages.map(received));
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const last = await Promise.all(pages.map(received));
  for (const [index, page] of pages.entries()) {
    const rates = last[index].filter((s) => s.kind === 'video').map((s) => {
      const before = first[index].find((b) => b.ssrc === s.ssrc);
      return (s.frames - (before?.frames ?? 0)) / seconds;
    }).sort((a, b) => b - a);
    const voices = last[index].filter((s) => s.kind === 'audio' && s.energy > 0);
    t.diagnostic(`${names[index]}: ${rates.slice(0, 2).map((r) => r.toFixed(1)).join(' and ')} frames/s, ${voices.length} voices, ` +
      `freezes ${last[index].map((s) => s.freezes).reduce((a, b) => a + b, 0)}`);
    assert.ok(rates.length >= 2 && rates[1] >= 10, `${names[index]} decodes ${rates}`);
    assert.ok(voices.length >= 2, `${names[index]} hears ${voices.length} voices`);
    assert.deepEqual(await shownNames(page), others(index));
    await assertSound(page);
  }
  await pages[0].screenshot({ path: path.join(output, 'meeting-1366x768.png') });
});

test('whoever pins by a key stays at the button of that point', bounded, async () => {
  const [page] = pages;
  const point = () => page.evaluate(() => document.activeElement?.dataset?.pins ?? '');
  await page.getByTestId('pin').first().focus();
  const number = await point();
  for (const pinned of ['true', 'false']) {
    await page.keyboard.press('Enter');
    await until('pressed', () => page.evaluate(() => document.activeElement?.getAttribute('aria-pressed')), (p) => p === pinned, 5);
    assert.equal(await point(), number);
  }
});

test('when all are muted nobody is shown as the one who speaks', bounded, async () => {
  // Whoever speaks has no tile on the own page.
  const speaking = async () => (await Promise.all(pages.map(tiles))).flat().filter((t) => t.speaking).length;
  await until('somebody speaks', speaking, (n) => n > 0, 20);
  for (const page of pages) await page.getByTestId('mic').click();
  await until('nobody speaks', speaking, (n) => n === 0, 2);
  for (const page of pages) await page.getByTestId('mic').click();
});

test('a reload brings the same person back to the same seat', bounded, async () => {
  const seat = () => pages[1].evaluate(() => globalThis.diemcau.state.number);
  const number = await seat();
  assert.ok(number > 0);
  await pages[1].reload();
  await until('in the meeting again', () => pages[1].getByTestId('leave').isVisible(), Boolean, 20);
  await until('pictures again', () => pictures(pages[1]), (s) => s.length >= 2, 20);
  assert.equal(await seat(), number);
  await until('seen by the others under the same name', () => shownNames(pages[0]), (n) => n.join() === others(0).join(), 20);
});

test('a page that is killed disturbs nobody', bounded, async () => {
  await doomed.kill();
  const frames = async () => (await pictures(pages[0])).map((s) => s.frames).reduce((a, b) => a + b, 0);
  const start = await frames();
  await until('the other picture goes on', frames, (n) => n >= start + 50, 8);
  await until('the killed point is shown as away or gone',
    () => pages[0].evaluate(() => globalThis.diemcau.state.points.filter((p) => p.connected).length), (n) => n === 2, 45);
});

test('signaling killed in mid-meeting: pictures and sound go on, pages resume by themselves', bounded, async (t) => {
  const two = pages.slice(0, 2);
  const total = async (page) => {
    const streams = await received(page);
    return { frames: streams.filter((s) => s.kind === 'video').reduce((a, s) => a + s.frames, 0),
      samples: streams.filter((s) => s.kind === 'audio').reduce((a, s) => a + s.samples - s.concealed, 0) };
  };
  const listen = new URL(server.http).host;
  await server.kill();
  const dark = await Promise.all(two.map(total));
  for (const [i, page] of two.entries()) {
    await until('pictures go on without signaling', () => total(page), (n) => n.frames >= dark[i].frames + 30 && n.samples > dark[i].samples + 48_000, 20);
  }
  const phase = (page) => () => page.evaluate(() => globalThis.diemcau.state.phase);
  for (const page of two) await until('without signaling', phase(page), (p) => p === 'reconnecting', 5);
  const again = await startServer({ data: server.data, args: ['--listen', listen] });
  try {
    assert.equal(again.node_pid, server.node_pid, 'the node was found again');
    const began = Date.now();
    for (const page of two) await until('resumed', phase(page), (p) => p === 'in', 20);
    t.diagnostic(`resumed after ${Date.now() - began} ms`);
    const resumed = await Promise.all(two.map(total));
    for (const [i, page] of two.entries()) {
      await until('pictures after the resume', () => total(page), (n) => n.frames >= resumed[i].frames + 30, 20);
      assert.equal(await page.evaluate(() => globalThis.__connections.length), 1, 'the connection was kept');
    }
  } finally {
    server = again;
  }
});

test('the node killed in mid-meeting: it is started again and the pages come back to their seats', bounded, async (t) => {
  const two = pages.slice(0, 2);
  const numbers = () => Promise.all(two.map((page) => page.evaluate(() => globalThis.diemcau.state.number)));
  const before = await numbers();
  const began = Date.now();
  process.kill(server.node_pid, 'SIGKILL');
  for (const page of two) {
    await until('a new connection', () => page.evaluate(() => globalThis.__connections.length), (n) => n >= 2, 30);
    await until('pictures again', () => pictures(page), (s) => s.some((x) => x.frames > 10), 30);
  }
  t.diagnostic(`pictures after ${Date.now() - began} ms`);
  assert.deepEqual(await numbers(), before);
  for (const page of two) assert.equal(await undecoded(page), 0);
});
