// A bad line for real browsers (`diemcau-load line`), told by its standard input, and how a page is led through it.
import { createInterface } from 'node:readline';
import { firstLine, ownAddress, startLoad } from './harness.mjs';

/** A line between `listen` and `to`, `settings` as the program takes them. `reports` has what it did, second by second. */
export async function openLine(listen, to, settings) {
  const { child, exited, end } = startLoad(['line', '--listen', `${ownAddress}:${listen}`, '--to', to, '--seed', '7', ...settings],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const line = { reports: [], say: (words) => child.stdin.write(`${words}\n`), close: end };
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (text) => {
    const report = JSON.parse(text);
    if (report.down) line.reports.push({ at: Date.now(), up: report.up, down: report.down });
  });
  await firstLine(lines, exited);
  return line;
}

/** Runs in a page: the far side's candidates lead to the line instead. */
export const throughLine = (from, to) => `{
  const native = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function (description) {
    const sdp = description.sdp.replaceAll(/(a=candidate:\\S+ 1 udp \\d+ \\S+) ${from} /gi, '$1 ${to} ');
    return native.call(this, { type: description.type, sdp });
  };
}`;
