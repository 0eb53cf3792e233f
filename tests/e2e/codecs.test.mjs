// Rooms that send H.264, VP9 and AV1: real browsers meet in each, and small tiles get smaller layers than large ones.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { after, before, test } from 'node:test';
import { assertSound, bounded, diemcau, join, makeFolder, openPage, received, sent, startChromium, startFirefox, startServer, until } from './harness.mjs';

// A room for ten sends VP9 and AV1 in scalable layers, a larger one as simulcast.
const rooms = [
  { id: 'h264', codec: 'H264', points_max: 10, scalable: false },
  { id: 'vp9', codec: 'VP9', points_max: 10, scalable: true },
  { id: 'av1', codec: 'AV1', points_max: 10, scalable: true },
  { id: 'vp9-large', codec: 'VP9', points_max: 300, scalable: false },
];
// What Firefox always brings; H.264 comes by a plugin that it loads for itself, or not.
const FIREFOX_SHOWS = ['VP9', 'AV1'];
let folder, server, browser, firefox;

before(async () => {
  folder = await makeFolder();
  const config = path.join(folder, 'config.toml');
  await writeFile(config, rooms.map(({ id, codec, points_max }) =>
    `[[rooms]]\nid = "${id}"\npoints_max = ${points_max}\nvideo = ["${codec.toLowerCase()}"]\n`).join('\n'));
  server = await startServer({ data: folder, args: ['--config', config] });
  browser = await startChromium();
  firefox = await startFirefox();
});
after(async () => {
  await firefox?.close();
  await browser?.close();
  await server?.stop();
});

/** The link into a room, as `diemcau token` gives it. */
async function linkTo(room) {
  const { stdout } = await promisify(execFile)(diemcau,
    ['token', '--data', folder, '--config', path.join(folder, 'config.toml'), '--room', room]);
  const token = stdout.match(/[\w-]+\.[\w-]+\.[\w-]+/)[0];
  return `${server.http}/p/${room}#k=${token}`;
}

/** The codecs of pictures that a browser sends, or shows, by its own word. */
const able = (page, side) => page.evaluate((side) =>
  globalThis[side].getCapabilities('video').codecs.map((c) => c.mimeType.toUpperCase()), side);

/** What a page has sent of its camera, one entry per encoding. */
const encodings = async (page) => (await sent(page)).filter((s) => s.kind === 'video' && s.frames > 0);

/** The picture that a page gets; null: none. */
async function picture(page) {
  const [first] = (await received(page)).filter((s) => s.kind === 'video' && s.frames > 0).sort((a, b) => b.frames - a.frames);
  return first ?? null;
}

for (const { id, codec, scalable } of rooms) {
  test(`${id}: pictures in ${codec}, a smaller layer for a smaller tile`, bounded, async (t) => {
    const url = await linkTo(id);
    const opened = [];
    const open = async (viewport, name, button) => {
      const page = await openPage(browser, url, { viewport });
      opened.push(page);
      await join(page, name, button);
      return page;
    };
    try {
      const sender = await openPage(browser, url, { viewport: { width: 500, height: 400 } });
      opened.push(sender);
      assert.ok((await able(sender, 'RTCRtpSender')).includes(`VIDEO/${codec}`), `Debian's Chromium encodes ${codec}, this one does not`);
      await join(sender, 'Điểm cầu tỉnh');
      const large = await open({ width: 1366, height: 768 }, 'Màn hình lớn', 'join-listen');
      const small = await open({ width: 320, height: 420 }, 'Điện thoại', 'join-listen');
      const fox = await firefox.join(url, 'Firefox', { button: 'join-listen' });
      opened.push(fox);
      const foxShows = FIREFOX_SHOWS.includes(codec) || (await able(fox, 'RTCRtpReceiver')).includes(`VIDEO/${codec}`);

      for (const [name, page] of Object.entries({ large, small })) {
        const now = await until(`30 pictures on the ${name} page`, () => picture(page), (p) => p?.frames >= 30, 30);
        assert.equal(now.codec, `video/${codec}`);
      }
      await t.test(`${id}: Firefox shows it`, { skip: foxShows ? false : `this Firefox does not decode ${codec}` }, async () => {
        const now = await until('30 pictures in Firefox', () => picture(fox), (p) => p?.frames >= 30, 30);
        assert.equal(now.codec, `video/${codec}`);
      });

      const heights = async () => (await Promise.all([large, small].map(picture))).map((p) => p?.height ?? 0);
      const [high, low] = await until('a layer of its own for each tile', heights, ([high, low]) => low > 0 && high > low, 30);
      // Two heights come of one encoding in layers of size, or of several that have one each.
      const out = await encodings(sender);
      assert.ok(out.every((s) => s.codec === `video/${codec}`), JSON.stringify(out));
      assert.ok(scalable ? out.length === 1 : out.length >= 2 && out.length <= 3, `${out.length} encodings`);
      for (const { mode } of out) assert.match(mode, scalable ? /^L[23]T/ : /^L1T/);
      if (!scalable) assert.equal(new Set(out.map((s) => s.height)).size, out.length, JSON.stringify(out));
      const before = await picture(small);
      const after = await until('pictures go on', () => picture(small), (p) => p.frames >= before.frames + 30);
      assert.ok(after.height < high, `${after.height} of ${high}`);
      // Layers that are told apart wrongly show as pictures that cannot be decoded and as requests for key frames.
      for (const page of [large, small]) assert.ok((await picture(page)).plis <= 5, `${(await picture(page)).plis} requests for key frames`);
      t.diagnostic(`large ${high}, small ${low}; sent ${JSON.stringify(out.map((s) => [s.rid, s.mode, s.height]))}`);
      for (const page of opened.slice(0, 3)) await assertSound(page);
    } finally {
      for (const page of opened) await (page.context ? page.context().close() : page.close());
    }
  });
}
