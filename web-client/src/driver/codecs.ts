// What the browser's codecs are, and which of them an m-section of ours offers.
import { VIDEO_CODECS, type VideoCodec, type VideoRules } from '../engine/protocol';
import { needsModes, type Encoding, type Skills } from '../engine/video';

/** A browser is asked how it scales where that matters: the question costs a connection that is never used. */
export function skillsOf(rules: VideoRules): Skills {
  const codecs = RTCRtpSender.getCapabilities?.('video')?.codecs ?? [];
  return { sends: new Set(VIDEO_CODECS.filter((name) => codecs.some((codec) => isForm(codec, name)))), scales: !needsModes(rules) || takesModes() };
}

/** Offers these codecs of pictures with their repairs, in this order. A browser that cannot choose sends a longer offer. */
export function preferVideo(transceiver: RTCRtpTransceiver, names: readonly VideoCodec[]): void {
  prefer(transceiver, 'video', (all) => {
    const chosen = names.flatMap((name) => all.filter((codec) => isForm(codec, name)).slice(0, 1));
    return chosen.length === 0 ? [] : [...chosen, ...all.filter((codec) => is(codec, 'video/rtx'))];
  });
}

export function preferAudio(transceiver: RTCRtpTransceiver): void {
  prefer(transceiver, 'audio', (all) => {
    const opus = all.filter((codec) => is(codec, 'audio/opus'));
    return opus.length === 0 ? [] : [...opus, ...all.filter((codec) => is(codec, 'audio/red'))];
  });
}

/** Voices may come with copies of former packets. */
export const takesRed = (): boolean => (RTCRtpReceiver.getCapabilities?.('audio')?.codecs ?? []).some((codec) => is(codec, 'audio/red'));

// Every codec costs lines in each of some thirty m-sections.
function prefer(transceiver: RTCRtpTransceiver, kind: 'audio' | 'video', choose: (all: RTCRtpCodec[]) => RTCRtpCodec[]): void {
  const codecs = choose(RTCRtpReceiver.getCapabilities?.(kind)?.codecs ?? []);
  if (codecs.length === 0 || !('setCodecPreferences' in transceiver)) return;
  try {
    transceiver.setCodecPreferences(codecs);
  } catch {
    // It offers all it has, which the server can answer too.
  }
}

/** It is that codec, in the one form of it that the server answers. */
function isForm(codec: RTCRtpCodec, name: VideoCodec): boolean {
  if (!is(codec, `video/${name}`)) return false;
  const parameters = codec.sdpFmtpLine ?? '';
  switch (name) {
    case 'vp8':
      return true;
    case 'h264':
      return /packetization-mode=1/.test(parameters) && /profile-level-id=42e0/i.test(parameters);
    case 'vp9':
      return !/profile-id=[1-9]/.test(parameters);
    case 'av1':
      return !/(^|;)\s*profile=[1-9]/.test(parameters);
  }
}

const is = (codec: RTCRtpCodec, type: string): boolean => codec.mimeType.toLowerCase() === type;

/** A browser that does not know `scalabilityMode` passes it over, or refuses it. */
function takesModes(): boolean {
  const pc = new RTCPeerConnection();
  try {
    const { sender } = pc.addTransceiver('video', { direction: 'sendonly', sendEncodings: [{ scalabilityMode: 'L1T3' } as Encoding] });
    const [encoding] = sender.getParameters().encodings as Encoding[];
    return encoding?.scalabilityMode === 'L1T3';
  } catch {
    return false;
  } finally {
    pc.close();
  }
}
