// What of the page a person can see, and whether there is a network.
import type { Seen } from '../engine/view-request';

/** `seen` is told at every change; `online` when a network came back. */
export function watchPage(told: { seen(seen: Seen): void; online(): void }): () => void {
  const look = (): void => told.seen(seenNow());
  // A picture that leaves the page plays on in a small window when the page is hidden: it must go on being asked for.
  const events = ['visibilitychange', 'enterpictureinpicture', 'leavepictureinpicture'] as const;
  for (const event of events) document.addEventListener(event, look, true);
  addEventListener('online', told.online);
  return () => {
    for (const event of events) document.removeEventListener(event, look, true);
    removeEventListener('online', told.online);
  };
}

export function seenNow(): Seen {
  if (document.visibilityState !== 'hidden') return 'all';
  return (document as { pictureInPictureElement?: Element | null }).pictureInPictureElement ? 'stage' : 'none';
}
