// Every page in both languages, both themes and both sizes: a screenshot each, no accessibility fault, nothing wider than the window.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { join, openPage, output, startChromium, startServer, until } from './harness.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const sizes = [{ width: 1366, height: 768 }, { width: 360, height: 640 }];
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
let server, browser, other;

before(async () => {
  server = await startServer();
  browser = await startChromium();
  other = await openPage(browser, server.join_url, { viewport: { width: 500, height: 400 } });
  await join(other, 'UBND đặc khu Cô Tô');
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Looks at the page as it is: picture, faults, width. */
async function look(page, name) {
  await page.screenshot({ path: path.join(output, `${name}.png`) });
  await page.evaluate(axe);
  const faults = await page.evaluate(async (tags) =>
    (await globalThis.axe.run(document, { runOnly: tags })).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`), rules);
  assert.deepEqual(faults, [], name);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${name} is ${wide} px wider than the window`);
}

for (const language of ['vi', 'en']) {
  for (const theme of ['light', 'dark']) {
    for (const size of sizes) {
      const name = `${language}-${theme}-${size.width}x${size.height}`;
      test(`pages in ${name}`, async () => {
        const url = new URL(server.join_url);
        url.searchParams.set('lang', language);
        const page = await openPage(browser, url.href, { viewport: size, init: undefined });
        await page.emulateMedia({ colorScheme: theme });
        await page.getByTestId('join-button').waitFor({ state: 'visible' });
        assert.equal(await page.evaluate(() => document.documentElement.lang), language);
        await look(page, `prejoin-${name}`);
        await join(page, 'UBND phường Hồng Gai');
        await until('the other picture', () => page.evaluate(() => document.querySelector('[data-testid=tile][data-seen=true]') !== null), Boolean, 20);
        await look(page, `meeting-${name}`);
        await page.getByTestId('leave').click();
        await page.getByTestId('rejoin').waitFor({ state: 'visible' });
        await look(page, `left-${name}`);
        assert.deepEqual(page.problems, []);
        await page.context().close();
      });
    }
  }
}

test('a link that no longer holds says so', async () => {
  const page = await openPage(browser, `${server.http}/p/demo#k=not-a-token`);
  const error = page.getByTestId('error');
  await error.waitFor({ state: 'visible' });
  assert.equal(await error.getAttribute('data-code'), 'bad_token');
  await look(page, 'error-bad-token');
});
