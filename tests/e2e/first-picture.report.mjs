// How long a person waits from the click on the join button until another point's first picture is painted, over loopback. A report, no
// test: part of `make bench-load`. RUNS=5; DIEMCAU names another server than the tests' build.
import { join, median, openPage, startChromium, startServer, until } from './harness.mjs';

const runs = Number(process.env.RUNS ?? 5);

/** Runs in the page from its beginning: notes when the button was pressed and when the first picture of a slot was painted. */
function watchFirst() {
  const first = (globalThis.first = { clicked: null, painted: null });
  addEventListener('click', (event) => {
    if (event.target.closest('[data-testid=join-button]') !== null) first.clicked = performance.now();
  }, { capture: true });
  const watched = new WeakSet();
  const look = () => {
    for (const video of document.querySelectorAll('[data-testid=tile][data-slot] video')) {
      if (watched.has(video)) continue;
      watched.add(video);
      video.requestVideoFrameCallback((now) => { first.painted ??= now; });
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

const server = await startServer();
const browser = await startChromium();
try {
  const host = await openPage(browser, server.join_url);
  await join(host, 'Văn phòng tỉnh');
  const waits = [];
  for (let run = 1; run <= runs; run++) {
    const page = await openPage(browser, server.join_url, { init: watchFirst });
    await join(page, `Điểm cầu ${run}`);
    const { clicked, painted } = await until('first picture', () => page.evaluate(() => globalThis.first), ({ painted }) => painted !== null);
    waits.push(Math.round(painted - clicked));
    await page.context().close();
  }
  const middle = median(waits);
  console.log(`first remote picture after the click: ${waits.join(', ')} ms, median ${middle} ms of 1000: ${middle <= 1_000 ? 'held' : 'short'}`);
} finally {
  await browser.close();
  await server.stop();
}
