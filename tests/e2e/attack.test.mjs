// Forged handshakes from another port during a meeting: nobody falls out, nothing is lost.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { bounded, startLoad, startServer, until } from './harness.mjs';

let server;
before(async () => { server = await startServer(); });
after(async () => { await server?.stop(); });

/** One DTLS handshake fragment of one byte: message type, sequence, offset within a long message. */
function fragment(index, messageSequence) {
  const record = Buffer.alloc(13 + 12 + 1);
  record.writeUInt8(22, 0);
  record.writeUInt16BE(0xfefd, 1);
  record.writeUIntBE(index, 5, 6);
  record.writeUInt16BE(13, 11);
  record.writeUInt8(1, 13);
  record.writeUIntBE(0xffff, 14, 3);
  record.writeUInt16BE(messageSequence, 17);
  record.writeUIntBE(index & 0xffff, 19, 3);
  record.writeUIntBE(1, 22, 3);
  return record;
}

/** A whole ClientHello with random contents. */
function clientHello() {
  const body = Buffer.concat([Buffer.from([0xfe, 0xfd]), randomBytes(32), Buffer.from([0, 0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0])]);
  const head = Buffer.alloc(25);
  head.writeUInt8(22, 0);
  head.writeUInt16BE(0xfeff, 1);
  head.writeUInt16BE(body.length + 12, 11);
  head.writeUInt8(1, 13);
  head.writeUIntBE(body.length, 14, 3);
  head.writeUIntBE(body.length, 22, 3);
  return Buffer.concat([head, body]);
}

/** Sends all of them from one port of this machine to the media address, a few at a time. */
async function spray(packets, media) {
  const [, host, port] = /^(.*):(\d+)$/.exec(media);
  const socket = dgram.createSocket(host.includes('[') ? 'udp6' : 'udp4');
  let sentCount = 0;
  for (const packet of packets) {
    socket.send(packet, Number(port), host.replace(/[[\]]/g, ''));
    sentCount += 1;
    if (sentCount % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  socket.close();
  return sentCount;
}

test('sprays of ClientHellos and of 30,000 fragments leave a meeting of five untouched', bounded, async (t) => {
  const { child: load } = startLoad(['--url', server.http, '--token', server.token, '--points', '5', '--seconds', '20', '--json', '-'],
    { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  load.stdout.on('data', (chunk) => { text += chunk; });
  const ended = once(load, 'close');
  const connected = async () => Number(/^diemcau_handshakes_total\{result="connected"\} (\d+)/m.exec(await (await fetch(server.metrics)).text())?.[1] ?? 0);
  await until('all five are there', connected, (n) => n === 5);
  const everyFirstByte = Array.from({ length: 256 }, (_, byte) => Buffer.concat([Buffer.from([byte]), randomBytes(60)]));
  const hellos = await spray(Array.from({ length: 2_000 }, clientHello), server.media);
  const fragments = await spray(Array.from({ length: 30_000 }, (_, i) => fragment(i, 6)), server.media);
  await spray(everyFirstByte, server.media);
  await ended;
  const result = JSON.parse(text);
  t.diagnostic(`${hellos} hellos and ${fragments} fragments: ${JSON.stringify(result)}`);
  assert.equal(result.joined, 5);
  assert.equal(result.packets_lost_after_repair, 0);
  assert.equal(result.continuity_errors, 0);
  process.kill(server.node_pid, 0); // throws if the node is gone
  const metrics = await (await fetch(server.metrics)).text();
  const refused = Number(/diemcau_datagrams_refused_total\{reason="unverified"\} (\d+)/.exec(metrics)?.[1]);
  assert.ok(refused >= 30_000, `${refused} datagrams of unverified sources were counted`);
});
