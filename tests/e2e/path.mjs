// A bad path: a UDP relay in user space with a seed. Clients send to its port; it sends on to the node from a socket of its
// own per client, so that the node sees each client at another address. Loss and delay per direction, bounded.
import dgram from 'node:dgram';
import { once } from 'node:events';

/** A small generator (mulberry32), so that a run can be repeated from its seed. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** First bytes 20 to 63 are DTLS (RFC 7983). */
export const isDtls = (packet) => packet[0] >= 20 && packet[0] <= 63;
/** First bytes 128 to 191 are SRTP or SRTCP. */
export const isMedia = (packet) => packet[0] >= 128 && packet[0] <= 191;

/**
 * Opens the relay on `address`. `upstream` is set later, when the node's address is known.
 * `loss` is a share 0 to 1 for each direction, `only` limits it to some packets.
 */
export async function openPath({ address, seed = 1, loss = 0, delayMs = 0, only = () => true }) {
  const random = seeded(seed);
  const front = dgram.createSocket('udp4');
  const clients = new Map();
  const path = { loss, delayMs, only, upstream: null, dropped: 0, passed: 0, port: 0, clients };
  const send = (socket, packet, port, host) => {
    if (path.only(packet) && random() < path.loss) { path.dropped += 1; return; }
    path.passed += 1;
    const now = () => { try { socket.send(packet, port, host); } catch { /* the relay was closed */ } };
    if (path.delayMs > 0) setTimeout(now, path.delayMs); else now();
  };
  front.on('message', (packet, from) => {
    if (!path.upstream) return;
    const key = `${from.address}:${from.port}`;
    let back = clients.get(key);
    if (!back) {
      if (clients.size >= 256) return; // more clients than any test opens
      back = dgram.createSocket('udp4');
      back.on('message', (reply) => send(front, reply, from.port, from.address));
      back.bind(0, address);
      clients.set(key, back);
    }
    send(back, packet, path.upstream.port, path.upstream.address);
  });
  front.bind(0, address);
  await once(front, 'listening');
  path.port = front.address().port;
  path.close = () => { front.close(); for (const back of clients.values()) back.close(); };
  return path;
}
