"""What a player saw and heard."""
import array

# Sound that is listened to at the end: what comes first may be silence.
SAMPLES = 24_000


class Seen:
    def __init__(self, clock, frames):
        self.clock, self.start, self.wanted = clock, clock(), frames
        self.frames, self.first, self.size, self.colour = 0, None, None, None
        self.samples, self.rate = array.array("h"), 0

    def picture(self, width, height, colour):
        if self.first is None:
            self.first = self.clock() - self.start
        self.frames += 1
        self.size, self.colour = [width, height], list(colour)

    def sound(self, data, rate):
        """Samples of 16 bits, one channel."""
        self.rate = rate
        self.samples.frombytes(data)
        del self.samples[: -rate]

    def is_enough(self):
        return self.frames >= self.wanted and len(self.samples) >= SAMPLES

    def tone(self):
        """Frequency by the rises through zero."""
        heard = self.samples[-SAMPLES:]
        rises = sum(1 for a, b in zip(heard, heard[1:]) if a < 0 <= b)
        return rises * self.rate / max(1, len(heard))

    def report(self):
        took = self.clock() - self.start
        return {"frames": self.frames, "first_ms": self.first and round(self.first * 1000), "size": self.size,
                "colour": self.colour, "tone": round(self.tone()), "took_ms": round(took * 1000)}
