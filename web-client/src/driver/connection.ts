// One RTCPeerConnection with one offer for its whole life: our sources first, then the slots. Nothing is ever added; tracks are replaced.
//
// The length of voice packets is the one thing that browsers change by a description only. So the page gives itself the server's answer
// again, with another `a=ptime`: nothing is sent, no stream, key or address changes, and the server never hears of it.
import { AUDIO_SLOTS, VIDEO_SLOTS, type Kind, type Profile, type Sources } from '../engine/protocol';
import type { SendOrder } from '../engine/session';
import { adapted, createTuner, offNow } from './sender';

export interface Connection {
  readonly pc: RTCPeerConnection;
  offer(): Promise<{ sdp: string; sources: Sources }>;
  /** Takes the answer; `slots` (slot -> mid) comes with the first one. */
  accept(answer: string, slots: Readonly<Record<string, string>> | null): Promise<void>;
  restart(): Promise<string>;
  setTrack(kind: Kind, track: MediaStreamTrack | null): void;
  /** Sends as ordered, once the answer is taken. */
  order(order: SendOrder): void;
  /** Slot to receiver, once the answer is taken. */
  readonly receivers: ReadonlyMap<string, RTCRtpReceiver>;
  /** The slot of an m-section; null: it is none. */
  slotOf(mid: string): string | null;
  close(): void;
}

export type MediaState = 'connected' | 'disconnected' | 'failed';

export function createConnection(
  profile: Profile,
  tracks: ReadonlyMap<Kind, MediaStreamTrack>,
  changed: (state: MediaState) => void,
): Connection {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers: [] });
  const senders = new Map<Kind, RTCRtpTransceiver>();
  senders.set('mic', add(pc, 'audio', { direction: 'sendonly' }));
  senders.set('camera', addVideo(pc, CAMERA_LAYERS));
  senders.set('screen', addVideo(pc, SCREEN_LAYER));
  senders.set('screen_sound', add(pc, 'audio', { direction: 'sendonly' }));
  for (let i = 0; i < AUDIO_SLOTS; i++) add(pc, 'audio', { direction: 'recvonly' });
  for (let i = 0; i < VIDEO_SLOTS[profile]; i++) add(pc, 'video', { direction: 'recvonly' });

  const receivers = new Map<string, RTCRtpReceiver>();
  const slotsByMid = new Map<string, string>();
  const camera = (senders.get('camera') as RTCRtpTransceiver).sender;
  const tuners = new Map([
    ['camera', createTuner(camera, 'maintain-framerate')],
    ['screen', createTuner((senders.get('screen') as RTCRtpTransceiver).sender, 'maintain-resolution')],
  ]);
  let ordered: SendOrder | null = null;
  let answer: string | null = null;
  const voice = { ms: VOICE_MS, set: VOICE_MS };
  // Descriptions are set one after the other; an offer in between would take the answer of another.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work, work);
    last = turn;
    return turn;
  };

  async function setVoice(): Promise<void> {
    if (answer === null || voice.ms === voice.set || pc.signalingState !== 'stable') return;
    const { ms } = voice;
    try {
      await pc.setLocalDescription(await pc.createOffer());
      await pc.setRemoteDescription({ type: 'answer', sdp: adapted(answer, ms, offNow(camera)) });
      voice.set = ms;
      tune();
    } catch {
      // Voices stay as they are, which every receiver understands.
      await pc.setLocalDescription({ type: 'rollback' }).catch(() => undefined);
    }
  }

  function tune(): void {
    for (const { source, layers } of ordered?.sources ?? []) tuners.get(source)?.(layers);
  }

  function obey(): void {
    if (ordered === null || answer === null) return;
    tune();
    voice.ms = ordered.voice_ms;
    if (voice.ms !== voice.set) void inTurn(setVoice);
  }
  const setTrack = (kind: Kind, track: MediaStreamTrack | null): void => {
    const sender = senders.get(kind)?.sender;
    if (sender === undefined || sender.track === track) return;
    // Rejects only if the connection is closed or the kind differs: then there is nothing to send to.
    sender.replaceTrack(track).catch(() => undefined);
  };
  for (const [kind, track] of tracks) setTrack(kind, track);

  pc.onconnectionstatechange = () => {
    const state = pc.connectionState;
    if (state === 'connected' || state === 'disconnected' || state === 'failed') changed(state);
  };

  return {
    pc,
    receivers,
    setTrack,
    slotOf: (mid) => slotsByMid.get(mid) ?? null,
    order(order) {
      ordered = order;
      obey();
    },
    async offer() {
      await pc.setLocalDescription();
      const sources: Sources = {};
      for (const [kind, transceiver] of senders) if (transceiver.mid !== null) sources[kind] = transceiver.mid;
      return { sdp: pc.localDescription?.sdp ?? '', sources };
    },
    async accept(sdp, slots) {
      await inTurn(() => pc.setRemoteDescription({ type: 'answer', sdp: adapted(sdp, voice.set, offNow(camera)) }));
      answer = sdp;
      if (slots !== null) {
        const byMid = new Map(pc.getTransceivers().map((t) => [t.mid, t.receiver]));
        for (const [slot, mid] of Object.entries(slots)) {
          slotsByMid.set(mid, slot);
          const receiver = byMid.get(mid);
          if (receiver !== undefined) receivers.set(slot, receiver);
        }
      }
      obey();
    },
    restart: () =>
      inTurn(async () => {
        await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
        return pc.localDescription?.sdp ?? '';
      }),
    close() {
      pc.onconnectionstatechange = null;
      pc.close();
    },
  };
}

/** A video sender with temporal layers, where the browser can say so; else without. */
function addVideo(pc: RTCPeerConnection, layers: readonly RTCRtpEncodingParameters[]): RTCRtpTransceiver {
  try {
    const sendEncodings = layers.map((layer) => ({ ...layer, scalabilityMode: 'L1T3' }));
    return add(pc, 'video', { direction: 'sendonly', sendEncodings });
  } catch {
    return add(pc, 'video', { direction: 'sendonly', sendEncodings: layers.map((layer) => ({ ...layer })) });
  }
}

function add(pc: RTCPeerConnection, kind: 'audio' | 'video', init: RTCRtpTransceiverInit): RTCRtpTransceiver {
  const transceiver = pc.addTransceiver(kind, init);
  const codecs = codecsOf(kind);
  // Every codec costs lines in each of some thirty m-sections; a browser that cannot choose sends a longer offer.
  if (codecs.length > 0 && 'setCodecPreferences' in transceiver) {
    try {
      transceiver.setCodecPreferences(codecs);
    } catch {
      // It offers all it has, which the server can answer too.
    }
  }
  return transceiver;
}

function codecsOf(kind: 'audio' | 'video'): RTCRtpCodec[] {
  const all = RTCRtpReceiver.getCapabilities?.(kind)?.codecs ?? [];
  const wanted = kind === 'audio' ? ['audio/opus', 'audio/red'] : ['video/vp8', 'video/rtx'];
  const chosen = wanted.flatMap((type) => all.filter((codec) => codec.mimeType.toLowerCase() === type));
  return chosen.some((codec) => codec.mimeType.toLowerCase() === wanted[0]) ? chosen : [];
}

// A number for maxFramerate stands on every encoding: in Chromium one set value would rule the layers where it is missing.
const CAMERA_LAYERS: readonly RTCRtpEncodingParameters[] = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000, maxFramerate: 15 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000, maxFramerate: 30 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_800_000, maxFramerate: 30 },
];
const VOICE_MS = 20;
const SCREEN_LAYER: readonly RTCRtpEncodingParameters[] = [{ maxBitrate: 2_500_000, maxFramerate: 15 }];
