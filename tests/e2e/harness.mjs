// Starts the real server and real browsers for a test, and tells what the pages see.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../..');
export const target = path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, 'target'), 'debug');
export const output = path.join(here, 'output');
await mkdir(output, { recursive: true });

/** The machine's first own IPv4 address, or loopback: Firefox never pairs with loopback where another interface exists. */
export const ownAddress = Object.values(os.networkInterfaces()).flat()
  .find((a) => a.family === 'IPv4' && !a.internal)?.address ?? '127.0.0.1';

/** One running `diemcau serve` with a data folder of its own. `files`: no more may it have open. */
export async function startServer({ data, args = [], env = {}, files } = {}) {
  const folder = data ?? (await mkdtemp(path.join(os.tmpdir(), 'diemcau-e2e-')));
  const program = process.env.DIEMCAU ?? path.join(target, 'diemcau');
  const [command, before] = files === undefined ? [program, []] : ['sh', ['-c', `ulimit -n ${files} && exec "$0" "$@"`, program]];
  const child = spawn(command,
    [...before, 'serve', ...(args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']), '--data', folder, '--ready-json', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const log = [];
  child.stderr.on('data', (chunk) => { log.push(String(chunk)); if (log.length > 2000) log.shift(); });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, 'line').then(([line]) => line), exited.then(() => null)]);
  if (first === null) throw new Error(`server ended before it was ready:\n${log.join('')}`);
  const ready = JSON.parse(first);
  return {
    ...ready, data: folder, pid: child.pid, log, exited,
    /** Clean stop of both processes; forgets the data folder unless it was given. */
    async stop() {
      if (child.exitCode === null && child.signalCode === null) { child.kill('SIGTERM'); await exited; }
      if (!data) await rm(folder, { recursive: true, force: true });
    },
    async kill() { child.kill('SIGKILL'); await exited; },
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
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true, 'media.navigator.permission.disabled': true, 'media.getusermedia.insecure.enabled': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false, 'media.autoplay.default': 0, 'media.autoplay.blocking_policy': 0,
    },
  });
  return {
    close: () => firefox.close(),
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

/** Types a name and presses the one big button. Resolves when the meeting is on the screen. */
export async function join(page, name, button = 'join-button') {
  await page.getByTestId('join-name').fill(name);
  await page.getByTestId(button).click();
  await page.getByTestId('leave').waitFor({ state: 'visible', timeout: 20_000 });
}

/** Polls until the condition holds; the wait is bounded and the last value is shown when it does not. */
export async function until(what, read, holds, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await read();
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
