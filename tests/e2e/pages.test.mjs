// Every page in both languages, both themes and both sizes: a screenshot each, no accessibility fault, nothing wider than the window.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { assertSound, bounded, diemcau, join, openPage, output, startChromium, startServer, until } from './harness.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const sizes = [{ width: 1366, height: 768 }, { width: 360, height: 640 }];
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
let server, browser, other;
const tokens = {};

before(async () => {
  server = await startServer();
  for (const role of ['chair', 'observer']) {
    const { stdout } = await promisify(execFile)(diemcau, ['token', '--data', server.data, '--room', 'demo', '--role', role]);
    tokens[role] = stdout.trim();
  }
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

// Runs in the page before anything else: the test can speak as the server, and silences what the server itself says of quality. What the page
// asks of the floor is under way, as on a slow line, for as long as there is a list of it.
function catchSocket() {
  const Native = globalThis.WebSocket;
  globalThis.WebSocket = class extends Native {
    set onmessage(hear) {
      const own = ['quality', 'send'];
      super.onmessage = (event) => { if (!globalThis.__silenced || !own.includes(JSON.parse(event.data).type)) hear(event); };
      globalThis.__say = (message) => { globalThis.__silenced = true; hear({ data: JSON.stringify(message) }); };
    }
    send(text) {
      const go = () => super.send(text);
      if (globalThis.__underWay && JSON.parse(text).type === 'give_floor') globalThis.__underWay.push(go);
      else go();
    }
  };
}

const WHY = {
  vi: { less: 'Hình giảm do đường truyền Cô Tô đã dùng hết mức cho phép', voices: 'Đường truyền yếu: tạm chỉ nhận tiếng nói', own: 'Đường truyền của bạn yếu: chỉ gửi hình nhỏ' },
  en: { less: 'Smaller picture: line Cô Tô has used its budget', voices: 'Weak connection: voices only for now', own: 'Your connection is weak: only a small picture is sent' },
};

/** Less and less comes and goes: the page says why, by eye, by keyboard and for a screen reader, and nothing moves for it. */
async function squeeze(page, language, name) {
  const tile = page.locator('[data-testid=tile][data-seen=true]').first();
  const slot = await tile.getAttribute('data-slot');
  const before = await tile.boundingBox();
  const quality = (height, cause, line) => page.evaluate((m) => globalThis.__say(m), { type: 'quality', slots: [
    { slot, height, rate: height === null ? 0 : 100, cause, line: line && 'tinh.co-to--tinh', line_name: line }] });
  await quality(90, 'line_budget', 'Cô Tô');
  await page.evaluate((m) => globalThis.__say(m), { type: 'send', voice_ms: 60, sources: [{ source: 'camera', cause: 'sender_path', line: null, line_name: null,
    layers: [true, false, false].map((active, i) => ({ active, bitrate: [100_000, 500_000, 1_800_000][i], fps: 15 })) }] });
  const sign = page.getByRole('button', { name: WHY[language].less });
  await sign.waitFor({ state: 'visible' });
  await page.getByRole('button', { name: WHY[language].own }).waitFor({ state: 'visible' });
  // A key before it, as a person would come there.
  await page.keyboard.press('Tab');
  await sign.focus();
  await page.locator('[data-testid=reason] .text', { hasText: WHY[language].less }).waitFor({ state: 'visible' });
  assert.deepEqual(await tile.boundingBox(), before, 'the sign moves nothing');
  await look(page, `less-${name}`);
  await page.getByTestId('quality').locator('summary').click();
  await page.locator(`[data-testid=quality-slots] [data-slot=${slot}][data-cause=line_budget]`).waitFor({ state: 'visible' });
  await look(page, `figures-${name}`);
  await page.getByTestId('quality').locator('summary').click();
  await quality(null, 'voices_only', null);
  await page.getByTestId('withheld').getByText(WHY[language].voices).waitFor({ state: 'attached' });
  assert.equal(await page.locator('[data-testid=tile][data-seen=true]').count(), 0, 'a picture that stands still is not shown');
  await look(page, `voices-${name}`);
  await quality(180, null, null);
  await until('the picture again', () => page.locator('[data-testid=tile][data-seen=true]').count(), (n) => n === 1);
  assert.equal(await page.getByTestId('withheld').count(), 0);
}

const FLOOR = {
  vi: { give: 'Mời UBND đặc khu Cô Tô phát biểu', has: 'Đang phát biểu: UBND đặc khu Cô Tô', take: 'Thu quyền' },
  en: { give: 'Give UBND đặc khu Cô Tô the floor', has: 'Has the floor: UBND đặc khu Cô Tô', take: 'Withdraw floor' },
};

/** The chair gives the floor to the other point and takes it: both pages say so. */
async function giveFloor(page, language, name) {
  const number = await other.evaluate(() => globalThis.diemcau.state.number);
  const both = (holds) => Promise.all([page, other].map((p) => until('the floor', () => p.evaluate(() => globalThis.diemcau.floor), holds)));
  await page.getByRole('button', { name: FLOOR[language].give }).focus();
  await page.keyboard.press('Enter');
  await both((n) => n === number);
  await page.getByTestId('floor').getByText(FLOOR[language].has).waitFor({ state: 'visible' });
  await page.locator(`[data-testid=tile][data-floor=true][data-wanted="${number * 4 + 1}"]`).waitFor({ state: 'visible' });
  await other.locator('[data-testid=self][data-floor=true]').waitFor({ state: 'visible' });
  assert.equal(await other.getByTestId('give-floor').count(), 0, 'who does not lead gives nothing');
  await look(page, `floor-${name}`);
  await other.screenshot({ path: path.join(output, `floor-own-${name}.png`) });
  await page.getByTestId('take-floor').getByText(FLOOR[language].take).click();
  await both((n) => n === null);
}

const REFUSED = {
  vi: { give: 'Mời Trạm y tế Ba Chẽ phát biểu', told: 'Chưa mời phát biểu được. Điểm cầu này vừa rời họp hoặc chỉ nghe và xem.' },
  en: { give: 'Give Trạm y tế Ba Chẽ the floor', told: 'The floor was not given. This point has just left, or listens and watches only.' },
};

/** The chair gives the floor to somebody who leaves before the server hears of it: the server refuses, and the page says so in words. */
async function giveTooLate(page, language, name) {
  const leaver = await openPage(browser, server.join_url, { viewport: { width: 500, height: 400 } });
  await join(leaver, 'Trạm y tế Ba Chẽ', 'join-listen');
  const give = page.getByRole('button', { name: REFUSED[language].give });
  await page.evaluate(() => { globalThis.__underWay = []; });
  await give.focus();
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => globalThis.__underWay.length), 1);
  await leaver.getByTestId('leave').click();
  await give.waitFor({ state: 'detached' });
  assert.equal(await page.getByTestId('refused').innerText(), '', 'nobody has refused anything yet');
  await page.evaluate(() => { for (const go of globalThis.__underWay) go(); });
  await page.getByTestId('refused').getByText(REFUSED[language].told).waitFor({ state: 'visible' });
  await look(page, `refused-${name}`);
  await leaver.context().close();
}

/** The first page of somebody in that role. */
async function openAs(role, { language, theme, size }) {
  const url = new URL(`${server.http}/p/demo`);
  url.searchParams.set('lang', language);
  url.hash = `k=${tokens[role]}`;
  const page = await openPage(browser, url.href, { viewport: size, init: catchSocket });
  await page.emulateMedia({ colorScheme: theme });
  await page.getByTestId('join-button').waitFor({ state: 'visible' });
  assert.equal(await page.evaluate(() => document.documentElement.lang), language);
  return page;
}

/** Who sees and hears only is told so before and in the meeting, and finds no switch that would send nothing. */
async function observe(page, language, name) {
  const told = page.getByTestId('watch-only').getByText({ vi: 'Chỉ nghe và xem', en: 'Listen and watch only' }[language]);
  const bare = async () => {
    await told.waitFor({ state: 'visible' });
    for (const id of ['mic', 'camera', 'share']) assert.equal(await page.getByTestId(id).count(), 0, id);
  };
  await bare();
  await look(page, `observer-prejoin-${name}`);
  await join(page, 'Sở Y tế');
  await until('the other picture', () => page.evaluate(() => document.querySelector('[data-testid=tile][data-seen=true]') !== null), Boolean, 20);
  await bare();
  await look(page, `observer-meeting-${name}`);
  await page.getByTestId('leave').click();
  await page.getByTestId('rejoin').waitFor({ state: 'visible' });
}

for (const language of ['vi', 'en']) {
  for (const theme of ['light', 'dark']) {
    for (const size of sizes) {
      const name = `${language}-${theme}-${size.width}x${size.height}`;
      test(`pages in ${name}`, bounded, async () => {
        const page = await openAs('chair', { language, theme, size });
        await look(page, `prejoin-${name}`);
        await join(page, 'UBND phường Hồng Gai');
        await until('the other picture', () => page.evaluate(() => document.querySelector('[data-testid=tile][data-seen=true]') !== null), Boolean, 20);
        await look(page, `meeting-${name}`);
        await giveFloor(page, language, name);
        await squeeze(page, language, name);
        await giveTooLate(page, language, name);
        await page.getByTestId('leave').click();
        await page.getByTestId('rejoin').waitFor({ state: 'visible' });
        await look(page, `left-${name}`);
        await assertSound(page);
        await page.context().close();
      });
      test(`an observer in ${name}`, bounded, async () => {
        const page = await openAs('observer', { language, theme, size });
        await observe(page, language, name);
        await assertSound(page);
        await page.context().close();
      });
    }
  }
}

/** What has the focus can be seen: nothing lies over its middle. */
const seenFocus = (page) => page.evaluate(() => {
  const { activeElement: at } = document;
  const { left, top, width, height } = at.getBoundingClientRect();
  return at.contains(document.elementFromPoint(left + width / 2, top + height / 2));
});

for (const language of ['vi', 'en']) {
  test(`four times as large nothing lies over another, in ${language}`, bounded, async () => {
    const page = await openAs('chair', { language, theme: 'light', size: { width: 320, height: 256 } });
    await look(page, `large-prejoin-${language}`);
    const [brand, theme] = await Promise.all([page.locator('.brand strong'), page.getByTestId('theme')].map((at) => at.boundingBox()));
    assert.ok(brand.x + brand.width <= theme.x, 'the name of the product ends before the next button');
    await page.getByTestId('join-name').focus();
    while (await page.evaluate(() => document.activeElement.dataset.testid !== 'join-button')) {
      assert.ok(await seenFocus(page), 'what has the focus lies behind the buttons');
      await page.keyboard.press('Tab');
    }
    await join(page, 'UBND phường Hồng Gai');
    const number = await other.evaluate(() => globalThis.diemcau.state.number);
    await page.evaluate((m) => globalThis.__say(m), { type: 'floor', number });
    await page.getByTestId('floor').getByText(FLOOR[language].has).waitFor({ state: 'visible' });
    const { height } = await page.getByTestId('tile').first().boundingBox();
    assert.ok(height >= 64, `a picture of ${height} px is none`);
    await look(page, `large-meeting-${language}`);
    await page.getByTestId('leave').click();
    await page.getByTestId('rejoin').waitFor({ state: 'visible' });
    await assertSound(page);
    await page.context().close();
  });
}

test('the ring of a button on a picture is whole and white, also where the picture is the button', bounded, async () => {
  const page = await openAs('chair', { language: 'vi', theme: 'light', size: { width: 320, height: 256 } });
  await join(page, 'UBND phường Hồng Gai');
  const tile = page.getByTestId('tile').first();
  for (const [size, small] of [[{ width: 320, height: 256 }, true], [{ width: 1366, height: 768 }, false]]) {
    await page.setViewportSize(size);
    await until('the size of the tile', async () => (await tile.boundingBox()).width <= 150, (is) => is === small);
    await page.keyboard.press('Tab');
    await tile.getByTestId('pin').focus();
    const ring = await tile.evaluate((tile) => {
      const { outlineColor, outlineOffset, outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      const [button, whole] = [document.activeElement, tile].map((at) => at.getBoundingClientRect());
      return { color: outlineColor, style: outlineStyle, room: whole.right - button.right - parseFloat(outlineOffset) - parseFloat(outlineWidth) };
    });
    assert.deepEqual([ring.color, ring.style], ['rgb(255, 255, 255)', 'solid']);
    assert.ok(ring.room >= 0, `${-ring.room} px of the ring are cut off`);
  }
  await page.getByTestId('leave').click();
  await page.getByTestId('rejoin').waitFor({ state: 'visible' });
  await assertSound(page);
  await page.context().close();
});

test('where the system forces its colours, the microphone’s level and the line’s bars are seen', bounded, async () => {
  const page = await openAs('chair', { language: 'vi', theme: 'light', size: sizes[0] });
  await page.emulateMedia({ forcedColors: 'active' });
  const colors = (at, property) => at.evaluateAll((all, property) => all.map((e) => getComputedStyle(e)[property]), property);
  const [bar, fill] = await colors(page.locator('.meter .bar, .meter .fill'), 'backgroundColor');
  assert.notEqual(fill, bar);
  await join(page, 'UBND phường Hồng Gai');
  const line = page.getByTestId('quality');
  await line.locator('.lit').first().waitFor({ state: 'visible' });
  assert.deepEqual(await colors(line.locator('.lit').first(), 'fill'), await colors(line.locator('svg'), 'color'));
  await page.getByTestId('leave').click();
  await page.getByTestId('rejoin').waitFor({ state: 'visible' });
  await assertSound(page);
  await page.context().close();
});

test('a page that is hidden asks for voices only, and for its pictures again when it is shown', bounded, async () => {
  const page = await openPage(browser, server.join_url);
  await join(page, 'UBND phường Uông Bí');
  const frames = () => page.evaluate(() => globalThis.diemcau.figures?.framesIn ?? -1);
  await until('the other picture', frames, (n) => n > 0);
  const show = (state) => page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  await show('hidden');
  await until('no picture', frames, (n) => n === 0);
  await show('visible');
  await until('the picture again', frames, (n) => n > 0);
  await assertSound(page);
  await page.context().close();
});

test('a link that no longer holds says so', bounded, async () => {
  const page = await openPage(browser, `${server.http}/p/demo#k=not-a-token`);
  const error = page.getByTestId('error');
  await error.waitFor({ state: 'visible' });
  assert.equal(await error.getAttribute('data-code'), 'bad_token');
  await look(page, 'error-bad-token');
});
