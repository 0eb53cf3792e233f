import { expect, it } from 'vitest';
import { createFeed } from '../src/driver/sender';

it('two quick switches end with the last one, whenever the browser is done with the first', async () => {
  const track = {} as MediaStreamTrack;
  const sender = {
    track: null as MediaStreamTrack | null,
    turn: Promise.resolve(),
    // One after the other, and not at once, as browsers do it.
    replaceTrack(next: MediaStreamTrack | null): Promise<void> {
      return (this.turn = this.turn.then(() => void (this.track = next)));
    },
  };
  const feed = createFeed(sender);
  feed(track);
  feed(null);
  await sender.turn;
  expect(sender.track).toBeNull();
  feed(track);
  await sender.turn;
  feed(null);
  feed(track);
  await sender.turn;
  expect(sender.track).toBe(track);
});
