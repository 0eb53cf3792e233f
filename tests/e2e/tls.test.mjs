// The way to other machines: a certificate of our own authority, the page over TLS on the machine's own address.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { assertSound, bounded, diemcau, join, makeFolder, ownAddress, received, startChromium, startServer, until, watchPage } from './harness.mjs';

let data, server, browser;

before(async () => {
  data = await makeFolder();
  await promisify(execFile)(diemcau, ['cert', 'init', '--data', data, '--name', ownAddress]);
  server = await startServer({ data, args: ['--listen', `${ownAddress}:0`] });
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test('the certificate is good for whoever trusts the authority, and for nobody else', bounded, async () => {
  const ca = await readFile(path.join(data, 'tls', 'ca.crt'));
  const status = (options) => new Promise((resolve, reject) => {
    https.get(`${server.http}/healthz`, options, (answer) => { answer.resume(); resolve(answer.statusCode); }).on('error', reject);
  });
  assert.equal(await status({ ca }), 200);
  await assert.rejects(status({}));
});

test('two pages meet over TLS on the address of the machine', bounded, async () => {
  assert.match(server.join_url, /^https:/);
  const pages = [];
  for (const name of ['Hồng Gai', 'Cô Tô']) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 640, height: 480 } });
    const page = await watchPage(await context.newPage());
    await page.goto(server.join_url);
    await join(page, name);
    pages.push(page);
  }
  for (const page of pages) {
    await until('a picture', () => received(page), (s) => s.some((x) => x.kind === 'video' && x.frames > 10), 20);
    await assertSound(page);
  }
});
