// Once a second: what the connection says of itself, given to the observer.
import { newObserver, observe, reconnected, type Observed, type Surroundings } from '../engine/observer';
import { readReport, type Entry } from '../engine/stats';
import type { Connection } from './connection';

/** Tells what was observed each second until the returned function is called. */
export function watchStats(
  connection: () => Connection | null,
  surroundings: () => Surroundings,
  told: (observed: Observed) => void,
): () => void {
  const observer = newObserver();
  let of: Connection | null = null;
  let asking: Connection | null = null;
  const timer = setInterval(() => {
    const current = connection();
    if (current !== of) {
      reconnected(observer);
      of = current;
    }
    // A busy browser answers late; asking again would only make it busier. Of a connection that was closed meanwhile it may never answer.
    if (current === null || asking === current) return;
    asking = current;
    const answered = (): void => {
      if (asking === current) asking = null;
    };
    current.pc.getStats().then(
      (report) => {
        answered();
        if (connection() !== current) return;
        const entries: Entry[] = [];
        report.forEach((entry: Entry) => entries.push(entry));
        const seen = observe(observer, performance.now(), readReport(entries, current.slotOf), surroundings());
        if (seen !== null) told(seen);
      },
      answered,
    );
  }, 1_000);
  return () => clearInterval(timer);
}
