// How loud a microphone is, for the eye: 0 to 1, twelve times a second; null while the browser does not let the page listen.

/** Null if the browser cannot measure this one: Firefox refuses a microphone of another rate than the speaker's, as headsets have. */
export function watchLevel(track: MediaStreamTrack, told: (level: number | null) => void): (() => void) | null {
  const listening = listen(track);
  if (listening === null) return null;
  const { context, source } = listening;
  const analyser = context.createAnalyser();
  analyser.fftSize = 1_024;
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const wake = (): void => void context.resume().catch(() => undefined);
  // Without a touch of the page the browser keeps the context asleep: it wakes at the first one.
  addEventListener('pointerdown', wake);
  addEventListener('keydown', wake);
  let shown = 0;
  const timer = setInterval(() => {
    if (context.state !== 'running') return told(null);
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    for (const sample of samples) sum += sample * sample;
    // -60 dB is nothing, -12 dB is full; it falls slowly so that words read as words.
    const db = 10 * Math.log10(sum / samples.length + 1e-12);
    const level = Math.min(1, Math.max(0, (db + 60) / 48));
    shown = Math.max(level, shown * 0.8);
    told(shown);
  }, 80);
  return () => {
    clearInterval(timer);
    removeEventListener('pointerdown', wake);
    removeEventListener('keydown', wake);
    source.disconnect();
    context.close().catch(() => undefined);
  };
}

function listen(track: MediaStreamTrack): { context: AudioContext; source: MediaStreamAudioSourceNode } | null {
  let context: AudioContext | null = null;
  try {
    context = new AudioContext();
    return { context, source: context.createMediaStreamSource(new MediaStream([track])) };
  } catch {
    context?.close().catch(() => undefined);
    return null;
  }
}

/** Two soft notes on the chosen speaker, so that a person can hear whether it works. */
export async function playTest(deviceId: string): Promise<void> {
  const context = new AudioContext();
  const out = context.createMediaStreamDestination();
  const element = new Audio();
  element.srcObject = out.stream;
  if ('setSinkId' in element && deviceId !== '') await element.setSinkId(deviceId).catch(() => undefined);
  for (const [i, hertz] of [523.25, 659.25].entries()) {
    const tone = context.createOscillator();
    const gain = context.createGain();
    const from = context.currentTime + 0.05 + i * 0.3;
    tone.frequency.value = hertz;
    gain.gain.setValueAtTime(0, from);
    gain.gain.linearRampToValueAtTime(0.25, from + 0.04);
    gain.gain.exponentialRampToValueAtTime(0.001, from + 0.45);
    tone.connect(gain).connect(out);
    tone.start(from);
    tone.stop(from + 0.5);
  }
  await element.play().catch(() => undefined);
  await new Promise((done) => setTimeout(done, 1_000));
  element.srcObject = null;
  await context.close().catch(() => undefined);
}
