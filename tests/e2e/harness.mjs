// Starts the real server and real browsers for a test, and tells what the pages see.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, mkdir } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../..');
const target = path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, 'target'), 'debug');
export const diemcau = process.env.DIEMCAU ?? path.join(target, 'diemcau');
const diemcauLoad = process.env.DIEMCAU_LOAD ?? path.join(target, 'diemcau-load');
export const output = path.join(here, 'output');
await mkdir(output, { recursive: true });

/** The machine's first own IPv4 address, or loopback: Firefox never pairs with loopback where another interface exists. */
export const ownAddress = Object.values(os.networkInterfaces()).flat()
  .find((a) => a.family === 'IPv4' && !a.internal)?.address ?? '127.0.0.1';

/** For each test's options: it ends, and fails, also when it hangs. Those after it are played. */
export const bounded = { timeout: 120_000 };

// What lives on when this process ends, however it ends: programs by their number with the signal that ends them, and folders.
const programs = new Map();
const folders = new Set();
process.on('exit', () => {
  for (const [pid, signal] of programs) { try { process.kill(pid, signal); } catch { /* it has ended */ } }
  // Who was just killed may write for a moment.
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});
// Browsers are ended by what started them, as this process exits. Left to itself that waits for them, and this process for good.
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.once(signal, () => process.exit(code));

/** A folder that is there as long as this process. */
export async function makeFolder() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'diemcau-e2e-'));
  folders.add(folder);
  return folder;
}

/** A program that ends with this process. `end` asks it to with a signal; one that does not listen is killed, and that is a fault. */
function start(program, args, options, signal) {
  const child = spawn(program, args, options);
  if (child.pid !== undefined) programs.set(child.pid, signal);
  const exited = once(child, 'exit').finally(() => programs.delete(child.pid));
  const end = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
    const [, by] = await exited;
    clearTimeout(timer);
    if (by === 'SIGKILL') throw new Error(`${path.basename(program)} was killed: it did not end within ${END_MS / 1000} s of ${signal}`);
  };
  return { child, exited, end };
}

const END_MS = 15_000;

/** `diemcau-load` with these arguments. */
export const startLoad = (args, options) => start(diemcauLoad, args, options, 'SIGINT');

/** The first line that a program prints; it fails if it ends before, or says nothing for 30 s. */
export async function firstLine(lines, exited) {
  const first = await within(30, 'the first line of a program', Promise.race([once(lines, 'line'), exited.then(() => null)]));
  if (first === null) throw new Error('a program ended before it was ready');
  return first[0];
}

/** One running `diemcau serve` with a data folder of its own. `files`: no more may it have open. */
export async function startServer({ data, args = [], env = {}, files } = {}) {
  const folder = data ?? (await makeFolder());
  const [command, before] = files === undefined ? [diemcau, []] : ['sh', ['-c', `ulimit -n ${files} && exec "$0" "$@"`, diemcau]];
  const { child, exited, end } = start(command,
    [...before, 'serve', ...(args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']), '--data', folder, '--ready-json', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } }, 'SIGTERM');
  const log = [];
  child.stderr.on('data', (chunk) => { log.push(String(chunk)); if (log.length > 2000) log.shift(); });
  const first = await firstLine(createInterface({ input: child.stdout }), exited).catch((error) => { throw new Error(`${error.message}:\n${log.join('')}`); });
  const ready = JSON.parse(first);
  return {
    ...ready, data: folder, pid: child.pid, log, exited,
    /** Clean stop of both processes. */
    async stop() {
      programs.set(ready.node_pid, 'SIGKILL'); // it lives on where the other crashed, or does not listen
      await end();
      if (child.exitCode === 0) programs.delete(ready.node_pid);
    },
    /** As a crash would end it: its node lives on. */
    async kill() {
      programs.set(ready.node_pid, 'SIGKILL');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding',
  '--disable-background-timer-throttling'];

/** A headless Chromium with fake camera and microphone. `camera`: a file (Y4M) that the camera plays, again and again. */
export function startChromium({ camera } = {}) {
  const args = camera === undefined ? flags : [...flags, `--use-file-for-fake-video-capture=${camera}`];
  return chromium.launch({ executablePath: '/usr/bin/chromium', headless: true, args });
}

/** One that can be killed as a crash or a power cut would: nothing is closed, nobody is told. */
export async function startDoomedChromium() {
  const process = await chromium.launchServer({ executablePath: '/usr/bin/chromium', headless: true, args: flags });
  const browser = await chromium.connect(process.wsEndpoint());
  return { browser, kill: () => process.kill() };
}

/** A headless Firefox with fake camera and microphone. `join` opens a page and enters the meeting. */
export async function startFirefox() {
  const firefox = await puppeteer.launch({
    browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true, defaultViewport: { width: 1366, height: 768 },
    userDataDir: await makeFolder(), // its own would stay where this process has to end it
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true, 'media.navigator.permission.disabled': true, 'media.getusermedia.insecure.enabled': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false, 'media.autoplay.default': 0, 'media.autoplay.blocking_policy': 0,
    },
  });
  const { pid } = firefox.process();
  programs.set(pid, 'SIGKILL');
  return {
    async close() {
      await firefox.close();
      programs.delete(pid);
    },
    async join(url, name, { init, button = 'join-button' } = {}) {
      const page = await firefox.newPage();
      await page.evaluateOnNewDocument(keepConnections);
      if (init) await page.evaluateOnNewDocument(init);
      await page.goto(url);
      await (await page.waitForSelector('[data-testid=join-name]')).type(name);
      await (await page.waitForSelector(`[data-testid=${button}]`)).click();
      await page.waitForSelector('[data-testid=leave]', { visible: true });
      return page;
    },
  };
}

/** Opens the page in a context of its own; kept small so that two cores can encode several cameras. */
export async function openPage(browser, url, { viewport = { width: 1366, height: 768 }, init } = {}) {
  const context = await browser.newContext({ viewport, permissions: ['camera', 'microphone'] });
  const page = await watchPage(await context.newPage());
  if (init) await page.addInitScript(init);
  await page.goto(url);
  return page;
}

/** For `openPage`'s `init`: the camera gives 360 lines, 15 times a second. Where a test measures times, two cores must be able to encode all cameras with time to spare. */
export function useSmallCamera() {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (wanted) => ask(wanted?.video ? { ...wanted, video: { ...wanted.video, width: 640, height: 360, frameRate: 15 } } : wanted);
}

/** Notes the page's errors in `page.problems`, and keeps its connections so that a test can ask them for statistics. */
export async function watchPage(page) {
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') page.problems.push(message.text()); });
  await page.addInitScript(keepConnections);
  return page;
}

/** Messages of the server that the page could not read. */
export const undecoded = (page) => page.evaluate(() => globalThis.diemcau.undecoded);

/** Nothing went wrong in the page, and it could read all that the server said. */
export async function assertSound(page) {
  assert.deepEqual(page.problems, []);
  assert.equal(await undecoded(page), 0, 'messages that could not be read');
}

/** Types a name and presses the one big button. Resolves when the meeting is on the screen. */
export async function join(page, name, button = 'join-button') {
  await page.getByTestId('join-name').fill(name);
  await page.getByTestId(button).click();
  await page.getByTestId('leave').waitFor({ state: 'visible', timeout: 20_000 });
}

/** What a promise brings, if it does so in time. */
export async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: no answer within ${seconds} s`)), seconds * 1000); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}

/** Polls until the condition holds; the wait is bounded and the last value is shown when it does not. A page that hangs answers never. */
export async function until(what, read, holds, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await within(seconds + 5, what, read());
    if (holds(value)) return value;
    if (Date.now() > end) throw new Error(`${what}: still ${JSON.stringify(value)} after ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** What a page receives, from getStats: one entry per stream that has had packets. */
export function received(page) {
  return page.evaluate(async () => {
    const report = await globalThis.__connections.at(-1).getStats();
    const streams = [];
    report.forEach((s) => {
      if (s.type !== 'inbound-rtp' || !s.packetsReceived) return;
      streams.push({ kind: s.kind, ssrc: s.ssrc, mid: s.mid, packets: s.packetsReceived, lost: s.packetsLost, frames: s.framesDecoded ?? 0,
        height: s.frameHeight ?? 0, freezes: s.freezeCount ?? 0, freezeSeconds: s.totalFreezesDuration ?? 0, plis: s.pliCount ?? 0,
        nacks: s.nackCount ?? 0, repaired: s.retransmittedPacketsReceived ?? 0, concealed: s.concealedSamples ?? 0, silent: s.silentConcealedSamples ?? 0,
        samples: s.totalSamplesReceived ?? 0, energy: s.totalAudioEnergy ?? 0, playout: s.estimatedPlayoutTimestamp ?? null,
        bytes: s.bytesReceived, discarded: s.packetsDiscarded ?? 0, bufferSeconds: s.jitterBufferDelay ?? 0, buffered: s.jitterBufferEmittedCount ?? 0,
        dropped: s.framesDropped ?? 0, keys: s.keyFramesDecoded ?? 0, codec: report.get(s.codecId)?.mimeType ?? '' });
    });
    return streams;
  });
}

/** What a page sends, one entry per layer. */
export function sent(page) {
  return page.evaluate(async () => {
    const report = await globalThis.__connections.at(-1).getStats();
    const streams = [];
    report.forEach((s) => {
      if (s.type !== 'outbound-rtp') return;
      streams.push({ kind: s.kind, rid: s.rid ?? '', packets: s.packetsSent, frames: s.framesEncoded ?? 0, keys: s.keyFramesEncoded ?? 0,
        nacks: s.nackCount ?? 0, plis: s.pliCount ?? 0, repaired: s.retransmittedPacketsSent ?? 0, height: s.frameHeight ?? 0, active: s.active,
        codec: report.get(s.codecId)?.mimeType ?? '', mode: s.scalabilityMode ?? '' });
    });
    return streams;
  });
}

/** The tiles on the screen, as a person would read them. */
export function tiles(page) {
  return page.evaluate(() => [...document.querySelectorAll('[data-testid=tile]')].map((t) => ({
    slot: t.dataset.slot ?? '', source: Number(t.dataset.source ?? 0), name: t.dataset.name ?? '', speaking: t.dataset.speaking === 'true',
  })));
}

// Runs in the page before anything else: keeps the connections so that a test can ask them for statistics.
function keepConnections() {
  globalThis.__connections = [];
  const Native = globalThis.RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Native {
    constructor(...args) { super(...args); globalThis.__connections.push(this); }
  };
}

/** Median of some numbers. */
export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
