// The media elements of the slots. They live as long as the meeting and outside the view's bookkeeping: a tile borrows the element of its
// slot and the park takes it back, so that sound and decoding never stop because a tile moved.
import { AUDIO_SLOTS, VIDEO_SLOTS, type Profile } from '../engine/protocol';

export interface Elements {
  /** The video slots, `v0` first. */
  readonly slots: readonly string[];
  video(slot: string): HTMLVideoElement | null;
  /** Gives a slot's element back to the park. */
  park(slot: string): void;
  /** Plays what these receivers bring, in place of whatever was played before. */
  play(receivers: ReadonlyMap<string, RTCRtpReceiver>): void;
  /** The speaker to play on, where the browser can choose ('' is the system's). */
  setOutput(deviceId: string): void;
  /** After a click: starts whatever the browser refused to start by itself. */
  resume(): void;
  remove(): void;
}

/** `blocked` is told true when the browser refuses to play sound before a person touched the page, false when it plays. */
export function createElements(profile: Profile, blocked: (blocked: boolean) => void): Elements {
  const park = document.createElement('div');
  park.className = 'media-park';
  park.setAttribute('aria-hidden', 'true');
  const videos = new Map<string, HTMLVideoElement>();
  const audios = new Map<string, HTMLAudioElement>();
  for (let i = 0; i < VIDEO_SLOTS[profile]; i++) {
    const video = document.createElement('video');
    video.autoplay = true;
    video.playsInline = true;
    // The stage's element plays voice and picture of one stream, so that lips and voice agree.
    video.muted = i !== 0;
    video.disablePictureInPicture = i !== 0;
    videos.set(`v${i}`, video);
    park.append(video);
  }
  for (let i = 1; i < AUDIO_SLOTS; i++) {
    const audio = document.createElement('audio');
    audio.autoplay = true;
    audios.set(`a${i}`, audio);
    park.append(audio);
  }
  document.body.append(park);

  const all = (): HTMLMediaElement[] => [...videos.values(), ...audios.values()];
  const plays = (element: HTMLMediaElement): boolean => element.srcObject === null || !element.paused;
  const start = (element: HTMLMediaElement): void => {
    element.play().then(
      () => {
        // A touch elsewhere on the page lets the next connection play: nothing is held back any more.
        if (all().every(plays)) blocked(false);
      },
      (error: unknown) => {
        if (error instanceof DOMException && error.name === 'NotAllowedError') blocked(true);
      },
    );
  };

  return {
    slots: [...videos.keys()],
    video: (slot) => videos.get(slot) ?? null,
    park(slot) {
      const video = videos.get(slot);
      if (video === undefined) return;
      park.append(video);
      if (video.paused && video.srcObject !== null) start(video);
    },
    play(receivers) {
      const tracks = (...slots: string[]): MediaStreamTrack[] =>
        slots.flatMap((slot) => receivers.get(slot)?.track ?? []);
      for (const [slot, video] of videos) {
        video.srcObject = new MediaStream(slot === 'v0' ? tracks('a0', 'v0') : tracks(slot));
        start(video);
      }
      for (const [slot, audio] of audios) {
        audio.srcObject = new MediaStream(tracks(slot));
        start(audio);
      }
    },
    setOutput(deviceId) {
      for (const element of [...audios.values(), ...videos.values()]) {
        if (!('setSinkId' in element) || element.muted) continue;
        // A speaker that was pulled out: the browser goes on with the system's.
        element.setSinkId(deviceId).catch(() => undefined);
      }
    },
    resume() {
      blocked(false);
      for (const element of all()) if (element.paused && element.srcObject !== null) start(element);
    },
    remove() {
      for (const element of all()) {
        element.srcObject = null;
        element.remove();
      }
      park.remove();
    },
  };
}
