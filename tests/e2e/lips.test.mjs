// A pinned picture and its voice stay together, also over switches.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bounded, join, openPage, startChromium, startServer, until, useSmallCamera } from './harness.mjs';

const names = ['Hạ Long', 'Cẩm Phả'];
let server, browser, viewer;

before(async () => {
  server = await startServer();
  browser = await startChromium();
  for (const name of names) {
    const page = await openPage(browser, server.join_url, { viewport: { width: 500, height: 400 }, init: useSmallCamera });
    await join(page, name);
  }
  viewer = await openPage(browser, server.join_url, { init: useSmallCamera });
  await join(viewer, 'Người xem');
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Voice minus picture of the stage pair, in ms; null while either says nothing. */
const skew = () => viewer.evaluate(async () => {
  const connection = globalThis.__connections.at(-1);
  const first = (kind) => connection.getTransceivers().find((t) => t.direction === 'recvonly' && t.receiver.track.kind === kind).mid;
  const mids = { audio: first('audio'), video: first('video') };
  const times = {};
  (await connection.getStats()).forEach((s) => {
    if (s.type === 'inbound-rtp' && s.mid === mids[s.kind]) times[s.kind] = s.estimatedPlayoutTimestamp;
  });
  return times.audio && times.video ? times.audio - times.video : null;
});

test('voice and picture of the pinned point differ by 80 ms at most, before and 2 s after each of ten switches', bounded, async (t) => {
  const seen = [];
  for (let i = 0; i <= 10; i += 1) {
    const tile = viewer.locator(`[data-testid=tile][data-name^="${names[i % 2]}"]`).first();
    await tile.hover().catch(() => {});
    await tile.getByTestId('pin').click({ force: true });
    await viewer.waitForTimeout(i === 0 ? 8_000 : 2_000);
    const samples = [];
    for (let n = 0; n < 5; n += 1) {
      samples.push(await until('a skew', skew, (s) => s !== null, 10));
      await viewer.waitForTimeout(200);
    }
    seen.push(samples.sort((a, b) => a - b)[2]);
  }
  t.diagnostic(`voice - picture in ms: ${seen.map((s) => s.toFixed(0)).join(' ')}`);
  // One sample may be taken while the machine is busy elsewhere; a skew that lasts shows in more than one.
  assert.ok(seen.filter((s) => Math.abs(s) > 80).length <= 1 && seen.every((s) => Math.abs(s) <= 160), `${seen}`);
});
