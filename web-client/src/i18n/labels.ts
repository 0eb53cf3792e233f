// A tile in words, for whoever does not see it.
import { t } from './index.svelte';

interface Shown {
  name: string;
  /** Has the floor. */
  floor: boolean;
  /** May send: who may not has no microphone that could be off. */
  sends: boolean;
  mic: boolean;
  camera: boolean;
}

export function tileLabel({ name, floor, sends, mic, camera }: Shown): string {
  if (!sends) return t('tile_label_watch', { name });
  return t(floor ? 'tile_label_floor' : 'tile_label', { name, mic: t(mic ? 'unmuted' : 'muted'), camera: t(camera ? 'camera_on' : 'camera_off') });
}
