// Against libwebrtc as it is: two pages that call each other directly over a line, then two in a room of ours with the same line between the
// node and the viewer. A report, no test: `make compare`. RATES=1500,3000 (kb/s), SPAN=60 (seconds), RUNS=1.
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { freePort } from './behind.mjs';
import { join, makeFolder, median, openPage, output, ownAddress, startChromium, startServer, until, watchPage } from './harness.mjs';
import { openLine, throughLine } from './line.mjs';
import { pointsOf } from './room.mjs';
import { writeScene } from './scene.mjs';

const rates = (process.env.RATES ?? '1500,3000').split(',').map(Number);
const seconds = Number(process.env.SPAN ?? 60);
const runs = Number(process.env.RUNS ?? 1);
/** Until then both find out about the line. */
const settled = Math.min(15, seconds / 4);
const settings = (rate) => ['--rate', String(rate), '--delay-ms', '20', '--queue-ms', '300'];

const camera = path.join(await makeFolder(), 'scene.y4m');
await writeScene(camera);

/** One look a second; a look that fails is none. `held`: for how long this program did not get a processor in that second, in ms. */
async function everySecond(look) {
  const rows = [];
  const began = Date.now();
  let [held, ticked] = [0, began];
  const ticker = setInterval(() => {
    held = Math.max(held, Date.now() - ticked - 20);
    ticked = Date.now();
  }, 20);
  for (let second = 1; second <= seconds; second++) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + second * 1_000 - Date.now())));
    const row = await look().catch(() => null);
    if (row !== null) rows.push({ second, at: Date.now(), held, ...row });
    held = 0;
  }
  clearInterval(ticker);
  return rows;
}

/** What the line carried towards the viewer, by second of `rows`. */
function carried(rows, reports, side) {
  return rows.map(({ at }) => reports.findLast((report) => report.at <= at)?.[side]).map((r) => ({ kbps: r?.kbps ?? 0, queue: r?.queue_ms_p50 ?? 0 }));
}

function middle(rows, carriedBy) {
  const late = rows.map((row, i) => ({ ...row, ...carriedBy[i] })).filter(({ second }) => second > settled);
  const of = (read) => median(late.map(read));
  return {
    estimate: of((r) => r.estimate), kbps: of((r) => r.kbps), queue: of((r) => r.queue), height: of((r) => r.height), fps: of((r) => r.fps),
    limited: [...new Set(late.map((r) => r.limited))].join('/'), wanted: of((r) => r.wanted ?? 0), allocated: of((r) => r.allocated ?? 0),
    held: Math.max(...late.map((r) => r.held)),
  };
}

/** A plain call of two pages, one of which sends voice and picture. */
async function direct(browser, rate) {
  const blank = async () => {
    const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
    await context.route('http://localhost/', (route) => route.fulfill({ contentType: 'text/html', body: '<video autoplay muted></video>' }));
    const page = await watchPage(await context.newPage());
    await page.goto('http://localhost/');
    return page;
  };
  const [caller, viewer] = [await blank(), await blank()];
  const offer = await caller.evaluate(async () => {
    const pc = (globalThis.pc = new RTCPeerConnection());
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 1280, height: 720, frameRate: 30 } });
    for (const track of stream.getTracks()) {
      track.contentHint = track.kind === 'video' ? 'motion' : '';
      pc.addTransceiver(track, { direction: 'sendonly', sendEncodings: [track.kind === 'video' ? { maxBitrate: 6_000_000 } : {}] });
    }
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
  });
  const answer = await viewer.evaluate(async (sdp) => {
    // A page that was let at a device tells its address; one that was not hides it behind a name.
    await navigator.mediaDevices.getUserMedia({ audio: true });
    const pc = (globalThis.pc = new RTCPeerConnection());
    pc.ontrack = ({ track }) => { if (track.kind === 'video') document.querySelector('video').srcObject = new MediaStream([track]); };
    await pc.setRemoteDescription({ type: 'offer', sdp });
    await pc.setLocalDescription();
    if (pc.iceGatheringState !== 'complete') await new Promise((resolve) => { pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && resolve(); });
    return pc.localDescription.sdp;
  }, offer.replaceAll(/a=candidate:.*\r\n/g, ''));
  const port = Number(new RegExp(`a=candidate:\\S+ 1 udp \\d+ ${ownAddress.replaceAll('.', '\\.')} (\\d+) `, 'i').exec(answer)?.[1]);
  const listen = await freePort(ownAddress);
  const line = await openLine(listen, `${ownAddress}:${port}`, settings(rate));
  // One way there is: through the line.
  let kept = false;
  const sdp = answer.replaceAll(/a=candidate:(.*)\r\n/g, (whole, words) => {
    if (!words.includes(` ${ownAddress} ${port} `) || kept) return '';
    kept = true;
    return whole.replace(` ${port} `, ` ${listen} `);
  });
  await caller.evaluate((text) => globalThis.pc.setRemoteDescription({ type: 'answer', sdp: text }), sdp);
  await until('a call', () => caller.evaluate(() => globalThis.pc.connectionState), (state) => state === 'connected');
  const rows = await everySecond(() => caller.evaluate(async () => {
    const all = [...(await globalThis.pc.getStats()).values()];
    const video = all.find((s) => s.type === 'outbound-rtp' && s.kind === 'video');
    const pair = all.find((s) => s.type === 'candidate-pair' && s.nominated);
    return { estimate: pair.availableOutgoingBitrate / 1_000, height: video.frameHeight ?? 0, fps: video.framesPerSecond ?? 0, limited: video.qualityLimitationReason };
  }));
  await line.close();
  await caller.context().close();
  await viewer.context().close();
  return { rows, line: line.reports, ...middle(rows, carried(rows, line.reports, 'up')) };
}

/** The same camera in a room of two. */
async function room(browser, rate) {
  const port = await freePort(ownAddress);
  const server = await startServer({
    args: ['--media-port', String(port), '--shards', '1'],
    env: { DIEMCAU__MEDIA__ADDRESSES: ownAddress, DIEMCAU__MEDIA__LOOPBACK: 'false' },
  });
  const listen = await freePort(ownAddress);
  const line = await openLine(listen, `${ownAddress}:${port}`, settings(rate));
  const sender = await openPage(browser, server.join_url, { viewport: { width: 800, height: 600 } });
  await join(sender, 'Điểm cầu tỉnh');
  // Two cores encode one camera here as they do in the call.
  const viewer = await openPage(browser, server.join_url, { init: throughLine(port, listen) });
  await join(viewer, 'UBND đặc khu Cô Tô', 'join-listen');
  await until('a picture', () => viewer.evaluate(() => globalThis.diemcau.figures?.framesIn ?? 0), (frames) => frames > 0, 30);
  const rows = await everySecond(async () => {
    const points = await pointsOf(server);
    const { estimate, wanted, allocated, slots, loss_permille, rtt_ms } = points.at(-1);
    const [got] = await viewer.evaluate(() => [...(globalThis.diemcau.figures?.slots.values() ?? [])]);
    const order = points[0].send.sources.flatMap((s) => s.layers.map((l) => (l.active ? l.bitrate_max / 1_000 : 0)));
    return {
      estimate: estimate / 1_000, wanted: wanted / 1_000, allocated: allocated / 1_000, loss: loss_permille, rtt: rtt_ms, order, height: got?.height ?? 0, fps: got?.fps ?? 0,
      limited: slots.map((s) => s.cause ?? 'none').join(),
      sent: await sender.evaluate(async () => [...(await globalThis.__connections.at(-1).getStats()).values()]
        .filter((s) => s.type === 'outbound-rtp' && s.kind === 'video' && s.rid)
        .map((s) => ({ rid: s.rid, target: s.targetBitrate ?? 0, height: s.frameHeight ?? 0, fps: s.framesPerSecond ?? 0, bytes: s.bytesSent, limited: s.qualityLimitationReason }))),
    };
  });
  await viewer.context().close();
  await sender.context().close();
  await server.stop();
  await line.close();
  return { rows, line: line.reports, ...middle(rows, carried(rows, line.reports, 'down')) };
}

const browser = await startChromium({ camera });
const results = [];
const whole = (value) => String(Math.round(value)).padStart(6);
const percent = (a, b) => `${Math.round((a / b) * 100)} %`.padStart(6);
console.log(`median of seconds ${settled} to ${seconds}; rates in kb/s, of the line with all headers; ${os.cpus().length} cores, load ${os.loadavg()[0].toFixed(1)}`);
try {
  for (const rate of rates) {
    for (let run = 1; run <= runs; run++) {
      const result = { rate, run, direct: await direct(browser, rate), room: await room(browser, rate) };
      results.push(result);
      for (const name of ['direct', 'room']) {
        const r = result[name];
        console.log(`line ${rate}, run ${run}, ${name.padEnd(6)}: estimate ${whole(r.estimate)}, used ${whole(r.kbps)} (${percent(r.kbps, rate)} of the line), ` +
          `queue ${whole(r.queue)} ms, ${r.height}p at ${Math.round(r.fps)}, limited by ${r.limited}, held up ${r.held} ms` + (name === 'room' ? `, wanted ${whole(r.wanted)}, given ${whole(r.allocated)}` : ''));
      }
      console.log(`line ${rate}, run ${run}, room of direct: estimate ${percent(result.room.estimate, result.direct.estimate)}, used ${percent(result.room.kbps, result.direct.kbps)}`);
    }
  }
} finally {
  await writeFile(path.join(output, 'direct.json'), JSON.stringify(results));
  await browser.close();
}
