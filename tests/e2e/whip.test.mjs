// Browsers without our page: one publishes by WHIP (RFC 9725), one plays by WHEP, and a person in the meeting sees the point as any other.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bounded, join, openPage, received, startChromium, startServer, tiles, until } from './harness.mjs';

let server, browser;

before(async () => {
  server = await startServer();
  browser = await startChromium();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Any page of the server's origin will do: it brings nothing of ours. */
const bare = () => openPage(browser, `${server.http}/healthz`, { viewport: { width: 320, height: 240 } });

/** In a page: offers, posts, takes the answer. The session's address stays in `__session`. */
async function post(page, path, kind) {
  return page.evaluate(async ({ path, token, kind }) => {
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    if (kind === 'whip') {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
      for (const track of stream.getTracks()) connection.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
    } else {
      for (const media of ['audio', 'video']) connection.addTransceiver(media, { direction: 'recvonly' });
      connection.ontrack = ({ track }) => { // a browser decodes sound only where it plays
        const element = document.body.appendChild(document.createElement(track.kind));
        element.srcObject = new MediaStream([track]);
        element.play();
      };
    }
    await connection.setLocalDescription();
    const made = await fetch(path, {
      method: 'POST', body: connection.localDescription.sdp, headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` },
    });
    if (made.status !== 201) return { status: made.status, problem: await made.json() };
    await connection.setRemoteDescription({ type: 'answer', sdp: await made.text() });
    globalThis.__session = new URL(made.headers.get('location'), location.href).href;
    globalThis.__etag = made.headers.get('etag');
    return { status: made.status };
  }, { path, token: server.token, kind });
}

const state = (page) => page.evaluate(() => globalThis.__connections.at(-1).connectionState);
const most = async (page, kind, what) => Math.max(0, ...(await received(page)).filter((s) => s.kind === kind).map((s) => s[what]));
const frames = (page) => most(page, 'video', 'frames');
const energy = (page) => most(page, 'audio', 'energy');

test('a browser publishes by WHIP, another plays it by WHEP, and people in the meeting see and hear it', bounded, async () => {
  const [camera, wall] = [await bare(), await bare()];
  assert.deepEqual(await post(camera, '/whip/demo?name=H%E1%BB%99i%20tr%C6%B0%E1%BB%9Dng', 'whip'), { status: 201 });
  assert.deepEqual(await post(wall, '/whep/demo/H%E1%BB%99i%20tr%C6%B0%E1%BB%9Dng', 'whep'), { status: 201 }, 'its name is there at once');
  await until('the camera', () => state(camera), (s) => s === 'connected');
  await until('pictures on the wall', () => frames(wall), (n) => n > 20);
  await until('sound at the wall', () => energy(wall), (e) => e > 0);

  const person = await openPage(browser, server.join_url);
  await join(person, 'Chủ trì');
  await until('the tile', () => tiles(person), (all) => all.some((t) => t.name.includes('Hội trường') && t.slot !== ''));
  await until('pictures on the tile', () => frames(person), (n) => n > 20);

  // The wall changes its network: new credentials by PATCH, then pictures go on over the same association.
  const restarted = await wall.evaluate(async (token) => {
    const connection = globalThis.__connections.at(-1);
    await connection.setLocalDescription(await connection.createOffer({ iceRestart: true }));
    const lines = connection.localDescription.sdp.split('\r\n').filter((line) => /^a=ice-(ufrag|pwd):/.test(line));
    const answer = await fetch(globalThis.__session, {
      method: 'PATCH', body: `${lines.slice(0, 2).join('\r\n')}\r\n`,
      headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*', Authorization: `Bearer ${token}` },
    });
    const fragment = await answer.text();
    const sdp = ['ice-ufrag', 'ice-pwd'].reduce((text, key) => {
      const value = fragment.match(new RegExp(`a=${key}:(.*)\r\n`))[1];
      return text.replace(new RegExp(`a=${key}:.*\r\n`, 'g'), `a=${key}:${value}\r\n`);
    }, connection.currentRemoteDescription.sdp);
    await connection.setRemoteDescription({ type: 'answer', sdp });
    return { status: answer.status, changed: answer.headers.get('etag') !== globalThis.__etag };
  }, server.token);
  assert.deepEqual(restarted, { status: 200, changed: true });
  const before = await frames(wall);
  await until('pictures after the restart', () => frames(wall), (n) => n > before + 20);

  const gone = await camera.evaluate((token) => fetch(globalThis.__session, { method: 'DELETE', headers: { Authorization: `Bearer ${token}` } })
    .then((answer) => answer.status), server.token);
  assert.equal(gone, 200);
  await until('the tile is gone', () => tiles(person), (all) => !all.some((t) => t.name.includes('Hội trường')));
  await until('the camera is told', () => state(camera), (s) => s !== 'connected');
});

test('who is on the stage is played, and the wall is nobody', bounded, async () => {
  const [person, wall] = [await openPage(browser, server.join_url), await bare()];
  await join(person, 'Thư ký');
  assert.deepEqual(await post(wall, '/whep/demo/stage', 'whep'), { status: 201 });
  await until('pictures of the stage', () => frames(wall), (n) => n > 20);
  assert.ok((await tiles(person)).every((t) => t.name !== 'WHEP'));
  const refused = await post(wall, '/whep/demo/nobody', 'whep');
  assert.deepEqual([refused.status, refused.problem.code], [404, 'unknown_point']);
});
