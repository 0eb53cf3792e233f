// One RTCPeerConnection with one offer for its whole life: our sources first, then the slots. Nothing is ever added; tracks are replaced.
//
// The length of voice packets is the one thing that browsers change by a description only. So the page gives itself the server's answer
// again, with another `a=ptime`: nothing is sent, no stream, key or address changes, and the server never hears of it.
import { AUDIO_SLOTS, VIDEO_SLOTS, type Kind, type Profile, type Sources, type VideoCodec, type VideoRules } from '../engine/protocol';
import type { SendOrder } from '../engine/session';
import { cameraOf, screenOf, type Sending } from '../engine/video';
import { preferAudio, preferVideo, skillsOf } from './codecs';
import { adapted, createFeed, createTuner, offNow } from './sender';

export interface Connection {
  readonly pc: RTCPeerConnection;
  offer(): Promise<{ sdp: string; sources: Sources }>;
  /** Takes the answer; `slots` (slot -> mid) comes with the first one. */
  accept(answer: string, slots: Readonly<Record<string, string>> | null): Promise<void>;
  restart(): Promise<string>;
  /** Forgets the offer of a restart that nobody answers any more. */
  takeBack(): Promise<void>;
  setTrack(kind: Kind, track: MediaStreamTrack | null): void;
  /** Sends as ordered, once the answer is taken. */
  order(order: SendOrder): void;
  /** Voices wait so many milliseconds at least before they are played; 0: as the browser likes. */
  setVoiceBuffer(ms: number): void;
  /** Slot to receiver, once the answer is taken. */
  readonly receivers: ReadonlyMap<string, RTCRtpReceiver>;
  /** The slot of an m-section; null: it is none. */
  slotOf(mid: string): string | null;
  close(): void;
}

export type MediaState = 'connected' | 'disconnected' | 'failed';

export function createConnection(
  profile: Profile,
  rules: VideoRules,
  tracks: ReadonlyMap<Kind, MediaStreamTrack>,
  changed: (state: MediaState) => void,
): Connection {
  const skills = skillsOf(rules);
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers: [] });
  const senders = new Map<Kind, RTCRtpTransceiver>();
  const [cameraSending, screenSending] = [cameraOf(rules, skills), screenOf(rules, skills)];
  senders.set('mic', addAudio(pc, 'sendonly'));
  senders.set('camera', addVideo(pc, cameraSending));
  senders.set('screen', addVideo(pc, screenSending));
  senders.set('screen_sound', addAudio(pc, 'sendonly'));
  for (let i = 0; i < AUDIO_SLOTS; i++) addAudio(pc, 'recvonly');
  for (let i = 0; i < VIDEO_SLOTS[profile]; i++) {
    preferVideo(pc.addTransceiver('video', { direction: 'recvonly' }), [...new Set<VideoCodec>(['vp8', ...rules.codecs])]);
  }

  const feeds = new Map([...senders].map(([kind, { sender }]) => [kind, createFeed(sender)]));
  const receivers = new Map<string, RTCRtpReceiver>();
  const slotsByMid = new Map<string, string>();
  const camera = (senders.get('camera') as RTCRtpTransceiver).sender;
  const tuners = new Map([
    ['camera', createTuner(camera, 'maintain-framerate', cameraSending.spatial)],
    ['screen', createTuner((senders.get('screen') as RTCRtpTransceiver).sender, 'maintain-resolution', screenSending.spatial)],
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
    feeds.get(kind)?.(track);
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
    setVoiceBuffer(ms) {
      const target = ms === 0 ? null : ms;
      for (const [slot, receiver] of receivers) {
        // A browser that does not know it takes it for a property of the page's.
        if (slot.startsWith('a') && (receiver.jitterBufferTarget ?? null) !== target) receiver.jitterBufferTarget = target;
      }
    },
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
    async takeBack() {
      await inTurn(async () => {
        if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
      });
      obey();
    },
    close() {
      pc.onconnectionstatechange = null;
      pc.close();
    },
  };
}

function addVideo(pc: RTCPeerConnection, { codec, encodings }: Sending): RTCRtpTransceiver {
  const add = (sendEncodings: RTCRtpEncodingParameters[]) => pc.addTransceiver('video', { direction: 'sendonly', sendEncodings });
  let transceiver: RTCRtpTransceiver;
  try {
    transceiver = add(encodings.map((encoding) => ({ ...encoding })));
  } catch {
    transceiver = add(encodings.map(({ scalabilityMode: _, ...encoding }) => encoding)); // a browser that refuses modes
  }
  // VP8 beside it, which every server answers.
  preferVideo(transceiver, [...new Set<VideoCodec>([codec, 'vp8'])]);
  return transceiver;
}

function addAudio(pc: RTCPeerConnection, direction: 'sendonly' | 'recvonly'): RTCRtpTransceiver {
  const transceiver = pc.addTransceiver('audio', { direction });
  preferAudio(transceiver);
  return transceiver;
}

const VOICE_MS = 20;
