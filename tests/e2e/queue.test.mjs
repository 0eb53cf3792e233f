// Too many join at once: the page stands in line and says at which place, in both languages, both themes and both sizes; then it is let in.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { assertSound, bounded, openPage, output, startChromium, startServer, until } from './harness.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const WORDS = { vi: /^Bạn ở vị trí thứ [\d.]+ trong hàng chờ/, en: /^You are number [\d,]+ in line/ };
const CROWD = 150;
let server, browser;

before(async () => {
  server = await startServer({ env: { DIEMCAU__JOINS__PER_SECOND: '1', DIEMCAU__JOINS__BURST: '1' } });
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** In the page: opens sockets that ask for seats with an offer that no node answers. Resolves when all of them have asked. */
function crowd([token, count]) {
  const ask = (i) => new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/ws`);
    socket.onopen = () => socket.send(JSON.stringify({ type: 'hello', version: 3, token }));
    socket.onmessage = ({ data }) => {
      const { type } = JSON.parse(data);
      const join = { type: 'join', id: 1, name: `Điểm ${i}`, profile: 'phone', sources: {}, published: [], offer: 'v=0\r\n' };
      if (type === 'welcome') socket.send(JSON.stringify(join));
      else resolve();
    };
  });
  return Promise.all(Array.from({ length: count }, (_, i) => ask(i)));
}

async function look(page, name) {
  await page.screenshot({ path: path.join(output, `${name}.png`) });
  await page.evaluate(axe);
  const faults = await page.evaluate(async (tags) =>
    (await globalThis.axe.run(document, { runOnly: tags })).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`), rules);
  assert.deepEqual(faults, [], name);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${name} is ${wide} px wider than the window`);
}

test('a page in line says at which place it stands, and is let in when its turn comes', bounded, async () => {
  const others = await openPage(browser, server.join_url);
  await others.evaluate(crowd, [new URL(server.join_url).hash.slice(3), CROWD]);
  const page = await openPage(browser, server.join_url);
  await page.getByTestId('join-name').fill('UBND phường Hồng Gai');
  await page.getByTestId('join-button').click();
  const place = page.getByTestId('place');
  await place.waitFor({ state: 'visible' });
  for (const language of ['vi', 'en']) {
    if (await page.evaluate(() => document.documentElement.lang) !== language) await page.getByTestId('language').click();
    for (const theme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: theme });
      for (const size of [{ width: 1366, height: 768 }, { width: 360, height: 640 }]) {
        await page.setViewportSize(size);
        assert.match((await place.innerText()).trim(), WORDS[language]);
        await place.scrollIntoViewIfNeeded();
        await look(page, `queue-${language}-${theme}-${size.width}x${size.height}`);
      }
    }
  }
  const number = async () => Number((await place.innerText()).replace(/\D/g, ''));
  const before = await number();
  assert.ok(before > 1 && before <= CROWD, `${before}`);
  await until('a better place', number, (n) => n < before);
  // The others give up: it is this page's turn.
  await others.context().close();
  await page.getByTestId('leave').waitFor({ state: 'visible', timeout: 20_000 });
  await assertSound(page);
});
