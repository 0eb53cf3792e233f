// A microphone or camera that the system holds back (a phone call, an assistant, a privacy switch): its track lives and gives nothing. It is
// asked for once more, which helps where another program only passed by; if that does not help the person is told.

export interface Held {
  /** Since when it has given nothing; null: it gives. */
  since: number | null;
  asked: boolean;
  told: boolean;
}

export const newHeld = (): Held => ({ since: null, asked: false, told: false });

/**
 * What to do at `now`: ask again, say that it is held, or say that it is free again. `seen`: the page is visible, for hidden pages are held
 * back as a matter of course.
 */
export function watch(h: Held, now: number, muted: boolean, seen: boolean): 'ask' | 'hold' | 'free' | null {
  if (!muted) {
    const { asked } = h;
    Object.assign(h, newHeld());
    return asked ? 'free' : null;
  }
  if (!seen) {
    h.since = null;
    return null;
  }
  h.since ??= now;
  if (h.told || now - h.since < PATIENCE_MS) return null;
  h.since = now;
  if (h.asked) {
    h.told = true;
    return 'hold';
  }
  h.asked = true;
  return 'ask';
}

/** There is another track: it is watched anew. */
export function renew(h: Held): void {
  h.since = null;
  h.told = false;
}

const PATIENCE_MS = 3_000;
