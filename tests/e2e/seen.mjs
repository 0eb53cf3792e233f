// What a person sees of the tiles of a page, noted from within it: how high the pictures are that are painted, and how long one stands
// still while its tile shows it as if it lived.

/** Runs in the page from its beginning. `globalThis.seen` is told what there is every 100 ms. */
export function watchTiles() {
  const seen = { samples: [], longest: {} };
  globalThis.seen = seen;
  /** By slot: the last picture, since when the tile has been waiting for the next, how high it was. */
  const slots = new Map();
  const watched = new WeakSet();
  let ticked = performance.now();

  const waited = (slot, state, now) => {
    if (state.since === null) return;
    seen.longest[slot] = Math.max(seen.longest[slot] ?? 0, now - state.since);
  };
  function watch(slot, video) {
    watched.add(video);
    const painted = (_now, { presentationTime, presentedFrames, height }) => {
      video.requestVideoFrameCallback(painted);
      const state = slots.get(slot);
      if (state === undefined) return;
      // The compositor paints also while scripts are held up: of several pictures since the last call each took its part.
      const frames = Math.max(1, presentedFrames - state.frames);
      if (state.since !== null) waited(slot, state, state.since + (presentationTime - state.since) / frames);
      Object.assign(state, { frames: presentedFrames, height, since: state.open ? presentationTime : null });
    };
    video.requestVideoFrameCallback(painted);
  }
  function look() {
    const now = performance.now();
    const late = now - ticked > 300;
    ticked = now;
    const tiles = [...document.querySelectorAll('[data-testid=tile]')];
    for (const tile of tiles) {
      const { slot } = tile.dataset;
      const video = tile.querySelector('video');
      if (!slot || video === null) continue;
      const state = slots.get(slot) ?? { frames: 0, height: 0, since: null, open: false };
      slots.set(slot, state);
      if (!watched.has(video)) watch(slot, video);
      const open = tile.dataset.seen === 'true';
      // A machine that was held up so long tells nothing of the pictures.
      if (late) state.since = open ? now : null;
      if (!late && state.open) waited(slot, state, now);
      if (open && !state.open) state.since = now;
      if (!open) state.since = null;
      state.open = open;
    }
    seen.samples.push({
      at: Date.now(), late,
      tiles: [...slots].map(([slot, { height, open, since }]) => ({ slot, height: open ? height : 0, still: since === null ? 0 : now - since })),
      told: (globalThis.diemcau?.quality ?? []).map(({ slot, height, rate, cause }) => ({ slot, height, rate, cause })),
      grade: Number(document.querySelector('[data-testid=quality]')?.dataset.grade ?? 0),
    });
  }
  setInterval(look, 100);
}

/** What was noted since the last time it was asked for; the longest wait of each slot begins anew. */
export function takeSeen(page) {
  return page.evaluate(() => {
    const { samples, longest } = globalThis.seen;
    globalThis.seen.samples = [];
    globalThis.seen.longest = {};
    return { samples, longest };
  });
}
