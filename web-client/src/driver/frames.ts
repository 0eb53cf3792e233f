// Tells, for every painted frame of a slot, its RTP time and what its packets say of their source.
import type { Contributing } from '../engine/slots';

export type FrameSeen = (rtpTimestamp: number, contributing: readonly Contributing[]) => void;

/** Chromium, Firefox and Safari can; where a browser cannot, names follow the `slots` messages alone. */
export function canWatch(video: HTMLVideoElement): boolean {
  return 'requestVideoFrameCallback' in video;
}

/** Watches until the returned function is called. `receiver` is asked anew at each frame: it changes with the connection. */
export function watchFrames(video: HTMLVideoElement, receiver: () => RTCRtpReceiver | undefined, seen: FrameSeen): () => void {
  let handle = 0;
  const frame: VideoFrameRequestCallback = (_now, metadata) => {
    handle = video.requestVideoFrameCallback(frame);
    if (metadata.rtpTimestamp !== undefined) seen(metadata.rtpTimestamp, contributing(receiver()));
  };
  handle = video.requestVideoFrameCallback(frame);
  return () => video.cancelVideoFrameCallback(handle);
}

function contributing(receiver: RTCRtpReceiver | undefined): Contributing[] {
  return receiver?.getContributingSources().map(({ source, rtpTimestamp }) => ({ source, rtpTimestamp })) ?? [];
}
