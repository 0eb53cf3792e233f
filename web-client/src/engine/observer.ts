// Looks at the connection once a second and keeps what must be remembered between looks: the snapshot before, how long each slot has been
// showing something, how hard the machine works, and how long voices wait.
import { judge, newLoad, overloaded, type Load } from './load';
import { clientStatsOf, decodingOf, figuresOf, voicePacketsOf, type Figures, type Snapshot } from './stats';
import { adjust, newVoiceBuffer, type VoiceBuffer } from './voice-buffer';
import type { ClientStats } from './protocol';

export interface Observer {
  before: Snapshot | null;
  /** Looks in a row at which the slot showed something. */
  filled: ReadonlyMap<string, number>;
  decoder: Load;
  encoder: Load;
  voices: VoiceBuffer;
}

export interface Observed {
  figures: Figures;
  stats: ClientStats;
  /** Large pictures should be asked for the stage only. */
  eased: boolean;
  /** Voices are to wait so long at least before they are played; 0: as the browser likes. */
  voiceBufferMs: number;
}

export const newObserver = (): Observer => ({ before: null, filled: new Map(), decoder: newLoad(), encoder: newLoad(), voices: newVoiceBuffer() });

/** Another connection: its counters begin anew. How hard the machine works does not. */
export function reconnected(o: Observer): void {
  o.before = null;
  o.filled = new Map();
}

export interface Surroundings {
  /** The slots that are said to show something. */
  occupied: ReadonlySet<string>;
  cores: number;
  /** The page could ask for smaller pictures. */
  canEase: boolean;
  /** The browser takes voices with copies of former packets (RED). */
  takesRed: boolean;
}

/** Null at the first look, and if no time has passed since the last. */
export function observe(o: Observer, now: number, snapshot: Snapshot, { occupied, cores, canEase, takesRed }: Surroundings): Observed | null {
  const { before } = o;
  if (before !== null && snapshot.at <= before.at) return null;
  o.before = snapshot;
  o.filled = new Map([...occupied].map((slot) => [slot, (o.filled.get(slot) ?? 0) + 1]));
  if (before === null) return null;
  o.decoder = judge(o.decoder, now, overloaded(decodingOf(before, snapshot), cores), canEase);
  // The encoder lowers its pictures by itself; the server only has to know.
  o.encoder = judge(o.encoder, now, snapshot.encoderLimited, false);
  o.voices = adjust(o.voices, now, voicePacketsOf(before, snapshot), takesRed);
  const steady = new Set([...o.filled].flatMap(([slot, looks]) => (looks >= STEADY_LOOKS ? [slot] : [])));
  return {
    figures: figuresOf(before, snapshot),
    stats: { cpu_limited: o.decoder.level === 2, encoder_limited: o.encoder.level === 2, ...clientStatsOf(before, snapshot, steady) },
    eased: o.decoder.level > 0,
    voiceBufferMs: o.voices.ms,
  };
}

// The first frame after a pause may come a look later than the news that the slot is filled.
const STEADY_LOOKS = 3;
