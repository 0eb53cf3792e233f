// Writes the server's orders into a video sender: one call at a time, in order, and always the newest. What the browser refuses is tried
// once more and then left until the next order.
import { scaled, tuned } from '../engine/sending';
import type { LayerOrder } from '../engine/protocol';

/** Takes an order for the encodings, lowest first. */
export type Tuner = (layers: readonly LayerOrder[]) => void;

/** `spatial`: layers that go in the one encoding. */
export function createTuner(sender: RTCRtpSender, preference: RTCDegradationPreference, spatial: number): Tuner {
  let wanted: readonly LayerOrder[] | null = null;
  let busy = false;

  async function work(): Promise<void> {
    busy = true;
    let refused = 0;
    while (wanted !== null) {
      const layers: readonly LayerOrder[] = wanted;
      wanted = null;
      try {
        await write(sender, layers, preference, spatial);
        refused = 0;
      } catch {
        // The parameters may have changed since they were read (a track was replaced); a closed connection refuses for good.
        refused += 1;
        if (refused < TRIES) wanted ??= layers;
      }
    }
    busy = false;
  }

  return (layers) => {
    wanted = layers;
    if (!busy) void work();
  };
}

/**
 * Sets the track of a sender; null sends nothing. It goes by what was asked for last: the sender's own track changes only when the browser
 * is done, and two quick switches would leave it with the first.
 */
export function createFeed(sender: Pick<RTCRtpSender, 'replaceTrack'>): (track: MediaStreamTrack | null) => void {
  let asked: MediaStreamTrack | null = null;
  return (track) => {
    if (track === asked) return;
    asked = track;
    // Rejects only if the connection is closed or the kind differs: then there is nothing to send to.
    sender.replaceTrack(track).catch(() => undefined);
  };
}

async function write(
  sender: RTCRtpSender, layers: readonly LayerOrder[], preference: RTCDegradationPreference, spatial: number,
): Promise<void> {
  const parameters = sender.getParameters();
  const encodings = spatial > 1 ? scaled(parameters.encodings, layers, spatial) : tuned(parameters.encodings, layers);
  if (encodings === null) return;
  await sender.setParameters({ ...parameters, encodings, degradationPreference: preference });
}

/**
 * The answer as this page gives it to its browser: with voice packets of this length asked for in its first m-section, the microphone's,
 * and with the encodings that are off marked as paused, because an answer starts in Chromium whatever it does not pause.
 */
export function adapted(answer: string, voiceMs: number, off: ReadonlySet<string>): string {
  const first = answer.indexOf('\r\nm=');
  const next = answer.indexOf('\r\nm=', first + 1);
  const end = next < 0 ? answer.length : next + 2;
  const voice = answer.slice(first, end).replace(/a=ptime:\d+\r\n/g, '');
  const rest = answer.slice(end).replace(/a=simulcast:recv ([^\r\n]*)/g, (_, rids: string) => {
    return `a=simulcast:recv ${rids.split(';').map((rid) => (off.has(rid) ? `~${rid}` : rid)).join(';')}`;
  });
  return `${answer.slice(0, first)}${voice}a=ptime:${voiceMs}\r\n${rest}`;
}

/** The encodings of a sender that are off, by their names. */
export function offNow(sender: RTCRtpSender): Set<string> {
  return new Set(sender.getParameters().encodings.flatMap(({ rid, active }) => (rid !== undefined && active === false ? [rid] : [])));
}

const TRIES = 2;
