// Keeps the screen on during a meeting, where the browser can. The lock falls whenever the page is hidden, so it is taken again.

export function keepAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  let over = false;
  const take = (): void => {
    if (over || document.visibilityState !== 'visible' || !('wakeLock' in navigator)) return;
    navigator.wakeLock.request('screen').then(
      (taken) => {
        // Shown, hidden and shown again at once: two were asked for, and one that nobody remembers would never fall.
        if (over || lock?.released === false) taken.release().catch(() => undefined);
        else lock = taken;
      },
      // Refused to save power: the screen follows the system's habit.
      () => undefined,
    );
  };
  take();
  document.addEventListener('visibilitychange', take);
  return () => {
    over = true;
    document.removeEventListener('visibilitychange', take);
    lock?.release().catch(() => undefined);
  };
}
