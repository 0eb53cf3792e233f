// Cameras, microphones and speakers: what there is, what was chosen, why one does not work. Nothing here ever holds up joining: a device
// that is still being asked for simply comes later.
import { newHeld, renew, watch } from '../engine/held';
import { recall, recallHere, remember, rememberHere } from './storage';

export type InputKind = 'mic' | 'camera';
/** Why a device gives nothing: refused by the person or system, none there, used by another program or held back, page not secure, anything else. */
export type Problem = 'denied' | 'none' | 'busy' | 'insecure' | 'other';

export interface Choice {
  id: string;
  label: string;
}

export interface InputState {
  /** The person wants it on. */
  wanted: boolean;
  asking: boolean;
  track: MediaStreamTrack | null;
  problem: Problem | null;
  choices: readonly Choice[];
  chosen: string;
}

/** It is wanted and gives something. */
export const isOn = ({ wanted, track, problem }: InputState): boolean => wanted && track !== null && problem === null;

export interface DevicesState {
  mic: InputState;
  camera: InputState;
  speakers: readonly Choice[];
  speaker: string;
}

export interface Devices {
  readonly state: DevicesState;
  /** Asks for whatever is wanted and not there. Never rejects. */
  open(): Promise<void>;
  /** A camera that is off is let go (its light goes out); a microphone stays open for its meter. */
  want(kind: InputKind, on: boolean): void;
  choose(kind: InputKind | 'speaker', id: string): void;
  /** Wants neither, for this time only, and lets both go. */
  mute(): void;
  /** Lets both go; what is wanted stays wanted for the next `open`. */
  release(): void;
  close(): void;
}

export function createDevices(changed: (state: DevicesState) => void): Devices {
  let state: DevicesState = {
    mic: { ...NOTHING, wanted: wantedBefore('mic'), chosen: recall('mic-device') },
    camera: { ...NOTHING, wanted: wantedBefore('camera'), chosen: recall('camera-device') },
    speakers: [],
    speaker: recall('speaker-device'),
  };
  let released = false;
  const held = { mic: newHeld(), camera: newHeld() };
  /** The choices that gave something, as they are remembered. */
  const proven = { mic: state.mic.chosen, camera: state.camera.chosen };
  /** Choices of one kind are tried one after the other: a phone has one camera at a time. */
  const tries = { mic: Promise.resolve(), camera: Promise.resolve() };

  const update = (patch: Partial<DevicesState>): void => {
    state = { ...state, ...patch };
    changed(state);
  };
  const set = (kind: InputKind, patch: Partial<InputState>): void => update({ [kind]: { ...state[kind], ...patch } });

  function keep(kind: InputKind, track: MediaStreamTrack): void {
    // The person changed their mind, or left, while the browser was asking.
    if (released || (kind === 'camera' && !state.camera.wanted)) {
      track.stop();
      set(kind, { asking: false });
      return;
    }
    state[kind].track?.stop();
    if (kind === 'camera') track.contentHint = 'motion';
    track.onended = () => {
      if (state[kind].track !== track) return;
      set(kind, { track: null, problem: 'none' });
      if (state[kind].wanted) void ask([kind]);
    };
    renew(held[kind]);
    set(kind, { track, problem: null, asking: false });
  }

  /** One question to the person for both kinds; if both together fail, each for itself. */
  async function ask(kinds: readonly InputKind[]): Promise<void> {
    if (kinds.length === 0) return;
    const problem = await take(kinds, false);
    if (problem !== null && problem !== 'insecure' && kinds.length > 1) {
      // Refused together may mean that one of them is: a blocked camera must not cost the microphone.
      for (const kind of kinds) await ask([kind]);
      return;
    }
    if (problem !== null) for (const kind of kinds) set(kind, { asking: false, problem });
    await list();
  }

  /** Asks the browser and keeps what it gives; answers why it gives nothing. */
  async function take(kinds: readonly InputKind[], exact: boolean): Promise<Problem | null> {
    const media = (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
    if (media === undefined) return 'insecure';
    for (const kind of kinds) set(kind, { asking: true });
    const constraint = (kind: InputKind): MediaTrackConstraints => {
      const id = state[kind].chosen;
      return { ...(kind === 'mic' ? MIC : CAMERA), ...(id === '' ? {} : { deviceId: exact ? { exact: id } : { ideal: id } }) };
    };
    try {
      const stream = await media.getUserMedia({
        ...(kinds.includes('mic') ? { audio: constraint('mic') } : {}),
        ...(kinds.includes('camera') ? { video: constraint('camera') } : {}),
      });
      for (const track of stream.getTracks()) keep(track.kind === 'audio' ? 'mic' : 'camera', track);
      return null;
    } catch (error) {
      return problemOf(error);
    }
  }

  /** Tries a device that was chosen. One that gives nothing is not left standing: the former one is asked for once more. */
  async function change(kind: InputKind, id: string): Promise<void> {
    // Another one was chosen since.
    if (state[kind].chosen !== id) return;
    const { wanted, track } = state[kind];
    // It is off: it shows what it is when it is switched on.
    if (!wanted && track === null) return prove(kind, id);
    // A phone opens no second camera while the first is open.
    if (kind === 'camera') track?.stop();
    const problem = await take([kind], true);
    if (problem === null) prove(kind, id);
    else set(kind, { asking: false });
    if (problem === null || state[kind].chosen !== id) return list();
    set(kind, { chosen: proven[kind] });
    if (state[kind].track?.readyState === 'live') return list();
    set(kind, { track: null });
    if (!released && state[kind].wanted) await ask([kind]);
  }

  function lookAtTracks(): void {
    const seen = document.visibilityState !== 'hidden';
    for (const kind of ['mic', 'camera'] as const) {
      const { wanted, track, asking } = state[kind];
      if (asking) continue;
      const next = watch(held[kind], performance.now(), wanted && track?.muted === true, seen);
      if (next === 'ask') void ask([kind]);
      else if (next === 'hold') set(kind, { problem: 'busy' });
      else if (next === 'free' && track !== null) set(kind, { problem: null });
    }
  }

  function tryChosen(kind: InputKind): void {
    const { chosen } = state[kind];
    tries[kind] = tries[kind].then(() => change(kind, chosen));
  }

  function prove(kind: InputKind, id: string): void {
    proven[kind] = id;
    remember(`${kind}-device`, id);
  }

  /** The chosen device was away, and is there again: another one stands in for it, under its name. */
  function isBack(kind: InputKind, before: readonly Choice[]): boolean {
    const { chosen, choices, track, asking } = state[kind];
    const among = (all: readonly Choice[]): boolean => all.some(({ id }) => id === chosen);
    return chosen !== '' && track !== null && !asking && among(choices) && !among(before) && track.getSettings().deviceId !== chosen;
  }

  /** `again`: a device was plugged in or out, so that one that was missing may be asked for once more. */
  async function list(again = false): Promise<void> {
    const all = (await (navigator as { mediaDevices?: MediaDevices }).mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const choices = (kind: MediaDeviceKind): Choice[] =>
      // Before permission the browser names nothing, and a choice without a name is none.
      all.filter((d) => d.kind === kind && d.deviceId !== '' && d.label !== '').slice(0, 32).map((d) => ({ id: d.deviceId, label: d.label }));
    const before = { mic: state.mic.choices, camera: state.camera.choices };
    const [mics, cameras] = [choices('audioinput'), choices('videoinput')];
    update({
      mic: { ...state.mic, choices: mics },
      camera: { ...state.camera, choices: cameras },
      speakers: choices('audiooutput'),
    });
    // Who has left is not seen or heard again because something was plugged in.
    if (!again || released) return;
    for (const kind of ['mic', 'camera'] as const) if (isBack(kind, before[kind])) tryChosen(kind);
    const returned = (['mic', 'camera'] as const).filter(
      (kind) => state[kind].wanted && state[kind].problem === 'none' && !state[kind].asking && (kind === 'mic' ? mics : cameras).length > 0,
    );
    if (returned.length > 0) await ask(returned);
  }

  function release(): void {
    released = true;
    for (const kind of ['mic', 'camera'] as const) {
      state[kind].track?.stop();
      set(kind, { track: null });
    }
  }

  const looking = setInterval(lookAtTracks, LOOK_MS);
  const refresh = (): void => void list(true);
  (navigator as { mediaDevices?: MediaDevices }).mediaDevices?.addEventListener('devicechange', refresh);

  return {
    get state() {
      return state;
    },
    async open() {
      released = false;
      await ask((['mic', 'camera'] as const).filter((kind) => state[kind].wanted && !isOn(state[kind]) && !state[kind].asking));
    },
    want(kind, on) {
      remember(kind, on ? 'on' : 'off');
      rememberHere(kind, on ? 'on' : 'off');
      released = false;
      set(kind, on ? { wanted: on } : { wanted: on, problem: null });
      if (on && state[kind].track === null && !state[kind].asking) void ask([kind]);
      if (!on && kind === 'camera') {
        state.camera.track?.stop();
        set('camera', { track: null });
      }
    },
    choose(kind, id) {
      if (kind === 'speaker') {
        remember('speaker-device', id);
        return update({ speaker: id });
      }
      set(kind, { chosen: id });
      tryChosen(kind);
    },
    mute() {
      for (const kind of ['mic', 'camera'] as const) {
        rememberHere(kind, 'off');
        set(kind, { wanted: false, problem: null });
      }
      release();
    },
    release,
    close() {
      clearInterval(looking);
      release();
      (navigator as { mediaDevices?: MediaDevices }).mediaDevices?.removeEventListener('devicechange', refresh);
    },
  };
}

/** True if this browser can share a screen at all; phones cannot. */
export function canShare(): boolean {
  const media = (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
  return media !== undefined && 'getDisplayMedia' in media;
}

/** Asks for a screen; null if the person changed their mind or the system refuses. */
export async function askScreen(): Promise<MediaStream | null> {
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 15 } }, audio: true });
    const [video] = stream.getVideoTracks();
    if (video !== undefined) video.contentHint = 'detail';
    return stream;
  } catch {
    return null;
  }
}

function wantedBefore(kind: InputKind): boolean {
  return (recallHere(kind) || recall(kind)) !== 'off';
}

function problemOf(error: unknown): Problem {
  const name = error instanceof DOMException ? error.name : '';
  return PROBLEMS[name] ?? 'other';
}

const PROBLEMS: Readonly<Record<string, Problem>> = {
  NotAllowedError: 'denied',
  SecurityError: 'denied',
  NotFoundError: 'none',
  OverconstrainedError: 'none',
  NotReadableError: 'busy',
  AbortError: 'busy',
};
const MIC: MediaTrackConstraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const CAMERA: MediaTrackConstraints = { width: { ideal: 1_280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
const LOOK_MS = 1_000;
const NOTHING: InputState = { wanted: true, asking: false, track: null, problem: null, choices: [], chosen: '' };
