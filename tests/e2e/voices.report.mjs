// How much of a voice two browsers make up while a third of the packets to them is lost in bursts: Chromium, which takes copies in later packets
// (RED), and Firefox, which takes none and gets each packet again instead. A report, no test: figures of a machine that others keep busy say
// little by themselves. SECONDS=40; DIEMCAU names another server than the tests' build.
import { freePort } from './behind.mjs';
import { join, openPage, ownAddress, received, startChromium, startFirefox, startServer, until } from './harness.mjs';
import { openLine, throughLine } from './line.mjs';

const seconds = Number(process.env.SECONDS ?? 40);
const wait = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000));

const port = await freePort(ownAddress);
const server = await startServer({
  args: ['--media-port', String(port), '--shards', '1'],
  env: { DIEMCAU__MEDIA__ADDRESSES: ownAddress, DIEMCAU__MEDIA__LOOPBACK: 'false' },
});
const [chromium, firefox] = [await startChromium(), await startFirefox()];
const lines = [];

/** A line for one page, 30 ms each way. */
async function line() {
  const listen = await freePort(ownAddress);
  lines.push(await openLine(listen, `${ownAddress}:${port}`, ['--down-delay-ms', '30', '--up-delay-ms', '30']));
  return throughLine(port, listen);
}

/** The one voice a page hears. */
const voice = async (page) => (await received(page)).filter((s) => s.kind === 'audio').sort((a, b) => b.packets - a.packets)[0];

const metrics = async () => {
  const text = await (await fetch(server.metrics)).text();
  return text.split('\n').filter((row) => row.startsWith('diemcau_rtp_packets_total')).map((row) => row.replace('diemcau_rtp_packets_total', '')).join(' ');
};

try {
  await join(await openPage(chromium, server.join_url, { viewport: { width: 800, height: 600 } }), 'Điểm cầu tỉnh');
  const there = await openPage(chromium, server.join_url, { init: await line() });
  await join(there, 'Cô Tô', 'join-listen');
  const fox = await firefox.join(server.join_url, 'Vân Đồn', { init: await line(), button: 'join-listen' });
  const pages = [['Chromium', there], ['Firefox', fox]];
  for (const [, page] of pages) await until('a voice', () => voice(page), (s) => s?.packets > 100, 30);
  let before = await Promise.all(pages.map(([, page]) => voice(page)));
  const tell = async (what) => {
    const now = await Promise.all(pages.map(([, page]) => voice(page)));
    for (const [at, [name]] of pages.entries()) {
      const grown = (read) => read(now[at]) - read(before[at]);
      const samples = grown((s) => s.samples);
      console.log(`${what}: ${name} made up ${(100 * grown((s) => s.concealed) / samples).toFixed(1)} % (silent ${(100 * grown((s) => s.silent) / samples).toFixed(1)} %), ` +
        `${grown((s) => s.packets)} packets, ${grown((s) => s.lost)} missing, ${grown((s) => s.discarded)} discarded, ` +
        `buffer ${(1000 * grown((s) => s.bufferSeconds) / grown((s) => s.buffered)).toFixed(0)} ms`);
    }
    before = now;
  };
  await wait(10);
  await tell('nothing lost');
  for (const each of lines) each.say('down loss=0.3 burst=3.6');
  for (let at = 0; at < seconds; at += 10) {
    await wait(10);
    await tell(`30 % lost, ${at} to ${at + 10} s`);
  }
  for (const each of lines) each.say('down loss=0');
  await wait(10);
  await tell('nothing lost any more');
  console.log(await metrics().catch(String));
} finally {
  await firefox.close();
  await chromium.close();
  await server.stop();
  for (const each of lines) await each.close();
}
