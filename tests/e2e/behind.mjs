// A server whose media is reached through a relay only, as behind an address translation.
import dgram from 'node:dgram';
import { once } from 'node:events';
import { ownAddress, startServer } from './harness.mjs';
import { openPath } from './path.mjs';

/** A UDP port that was free a moment ago. */
export async function freePort(address) {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, address);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

/** Starts relay and server; the server announces the relay's address alone. */
export async function startServerBehind(options) {
  const path = await openPath({ address: ownAddress, ...options });
  const port = await freePort(ownAddress);
  path.upstream = { address: ownAddress, port };
  const server = await startServer({
    args: ['--media-port', String(port), '--shards', '1'],
    // Only this one address, so that no candidate leads around the relay.
    env: {
      DIEMCAU__MEDIA__ADDRESSES: ownAddress, DIEMCAU__MEDIA__LOOPBACK: 'false',
      DIEMCAU__MEDIA__PUBLIC: `${ownAddress}:${path.port}=${ownAddress}:${port}`,
    },
  });
  return { server, path };
}
