// Every place of the server is taken: a page that is refused with 503 stays away as long as `Retry-After` says, and comes in when there is a place.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bounded, openPage, startChromium, startServer, until } from './harness.mjs';

// With so few open files a server has ten places, the fewest it starts with.
const FILES = 120;
const PLACES = 10;
let server, browser;

before(async () => {
  server = await startServer({ files: FILES });
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** In a page: takes places and keeps them, until there is none. How many it got. */
async function take(token) {
  globalThis.taken = [];
  const one = () => new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/ws`);
    socket.onopen = () => socket.send(JSON.stringify({ type: 'hello', version: 3, token }));
    socket.onmessage = () => resolve(taken.push(socket));
    socket.onerror = () => resolve(0);
  });
  while (await one());
  return taken.length;
}

/** Notes when sockets were opened, and what the server said of those that it refused. */
function note() {
  globalThis.noted = { opened: [], refused: [] };
  const { WebSocket: Socket, fetch: ask } = globalThis;
  globalThis.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      noted.opened.push(performance.now());
    }
  };
  globalThis.fetch = async (...args) => {
    const answer = await ask(...args);
    if (String(args[0]).endsWith('/api/v1/admission')) {
      noted.refused.push({ at: performance.now(), status: answer.status, retryAfter: answer.headers.get('Retry-After') });
    }
    return answer;
  };
}

test('a page that finds no place stays away as long as the server says, and is let in afterwards', bounded, async () => {
  const others = await openPage(browser, server.join_url);
  const count = await others.evaluate(take, new URL(server.join_url).hash.slice(3));
  assert.ok(count > 0 && count <= PLACES, `${count} places`);
  const page = await openPage(browser, server.join_url, { init: note });
  await page.getByTestId('join-name').fill('UBND xã Quảng Đức');
  await page.getByTestId('join-button').click();
  const seen = await until('two tries', () => page.evaluate(() => noted), (all) => all.refused.length > 0 && all.opened.length > 1, 30);
  const [{ at, status, retryAfter }] = seen.refused;
  assert.equal(status, 503);
  assert.match(retryAfter, /^[1-8]$/);
  const stayed = seen.opened[1] - at;
  assert.ok(stayed >= Number(retryAfter) * 1_000 - 1, `away for ${stayed} ms, told ${retryAfter} s`);
  await others.evaluate(() => taken.forEach((socket) => socket.close()));
  await page.getByTestId('leave').waitFor({ state: 'visible', timeout: 60_000 });
});
