// A bad line for real browsers (`diemcau-load line`), told by its standard input, and how a page is led through it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { ownAddress, target } from './harness.mjs';

/** A line between `listen` and `to`, `settings` as the program takes them. `reports` has what it did, second by second. */
export async function openLine(listen, to, settings) {
  const child = spawn(process.env.DIEMCAU_LOAD ?? path.join(target, 'diemcau-load'),
    ['line', '--listen', `${ownAddress}:${listen}`, '--to', to, '--seed', '7', ...settings],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const line = {
    reports: [],
    say: (words) => child.stdin.write(`${words}\n`),
    async close() { child.kill('SIGINT'); await once(child, 'exit'); },
  };
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (text) => {
    const report = JSON.parse(text);
    if (report.down) line.reports.push({ at: Date.now(), up: report.up, down: report.down });
  });
  await once(lines, 'line');
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
