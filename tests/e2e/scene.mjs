// A camera for measurements: a picture of 1280x720 with enough detail and movement that an encoder takes every bitrate it is given. The
// browsers' own moving disc is done with after a few hundred kbit/s.
import { open } from 'node:fs/promises';
import { seeded } from './path.mjs';

const [width, height, frames] = [1280, 720, 60];

/** Writes two seconds of it as Y4M, 83 MB. */
export async function writeScene(file, seed = 3) {
  const random = seeded(seed);
  // Blocks of many sizes, wider than the picture: it pans over them, there and back, while grain changes from picture to picture.
  const wide = width + 8 * frames;
  const ground = new Uint8Array(wide * height).fill(110);
  for (let i = 0; i < 4_000; i++) {
    const [w, h, shade] = [4 + random() * 60, 4 + random() * 60, 30 + random() * 180];
    const [left, top] = [Math.floor(random() * (wide - w)), Math.floor(random() * (height - h))];
    for (let y = top; y < top + h; y++) ground.fill(shade, y * wide + left, y * wide + left + Math.floor(w));
  }
  const grain = Uint8Array.from({ length: 1 << 20 }, () => random() * 13);
  const out = await open(file, 'w');
  await out.write(`YUV4MPEG2 W${width} H${height} F30:1 Ip A1:1 C420\n`);
  const chroma = Buffer.alloc((width * height) / 2, 128);
  const luma = Buffer.alloc(width * height);
  for (let i = 0; i < frames; i++) {
    const shift = 8 * (i < frames / 2 ? i : frames - 1 - i);
    let place = Math.floor(random() * grain.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) luma[y * width + x] = ground[y * wide + x + shift] + grain[(place += 1) & (grain.length - 1)];
    }
    await out.write('FRAME\n');
    await out.write(luma);
    await out.write(chroma);
  }
  await out.close();
}
