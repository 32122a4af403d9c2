// Waveform, spectrogram and tokens on canvases.

const MOST_COLUMNS = 1200;

function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  return canvas.getContext("2d");
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The largest of samples [T] in [-1, 1], and .05 at least: silence is drawn as a line. */
export const peakOf = (samples) => samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0.05);

/** samples: [T]; peak: the value that fills the height. */
export function drawWaveform(canvas, samples, name = "--accent", peak = peakOf(samples)) {
  const context = prepare(canvas);
  const { width, height } = canvas;
  context.fillStyle = colour(name);
  for (let x = 0; x < width; x++) {
    let [low, high] = [0, 0];
    const end = Math.floor(((x + 1) * samples.length) / width);
    for (let index = Math.floor((x * samples.length) / width); index < end; index++) {
      low = Math.min(low, samples[index]);
      high = Math.max(high, samples[index]);
    }
    const [top, bottom] = [high, low].map((value) => (height / 2) * (1 - (0.95 * value) / peak));
    context.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
}

/** Log magnitudes of 512 samples, 0 to half of the sample rate from bottom to top, 80 dB from black to bright. */
export function drawSpectrogram(canvas, samples) {
  const context = prepare(canvas);
  const [columns, rows, size] = [Math.min(MOST_COLUMNS, canvas.width), 256, 512];
  const power = new Float32Array(columns * rows);
  const [real, imaginary] = [new Float64Array(size), new Float64Array(size)];
  let highest = -Infinity;
  for (let x = 0; x < columns; x++) {
    const first = Math.round(((x + 0.5) * samples.length) / columns) - size / 2;
    for (let index = 0; index < size; index++) {
      real[index] = (samples[first + index] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * index) / size));
    }
    imaginary.fill(0);
    transform(real, imaginary);
    for (let row = 0; row < rows; row++) {
      const value = 10 * Math.log10(real[row] ** 2 + imaginary[row] ** 2 + 1e-9);
      power[row * columns + x] = value;
      highest = Math.max(highest, value);
    }
  }
  const image = new ImageData(columns, rows);
  for (let row = 0; row < rows; row++) {
    for (let x = 0; x < columns; x++) {
      const level = Math.min(Math.max(1 + (power[row * columns + x] - highest) / 80, 0), 1);
      image.data.set(heat(level), 4 * ((rows - 1 - row) * columns + x));
    }
  }
  paint(context, canvas, image, true);
}

/** Each token is a column; its digits (of the levels, or the bits of nested tokens) are the rows, bright is high. */
export function drawTokens(canvas, tokens, levels, bits) {
  const context = prepare(canvas);
  const radix = levels.length ? levels : Array(bits ?? 1).fill(2);
  const image = new ImageData(Math.max(1, tokens.length), radix.length);
  tokens.forEach((token, x) => {
    let rest = token;
    radix.forEach((level, place) => {
      const row = levels.length ? place : radix.length - 1 - place;
      image.data.set(heat(0.15 + (0.8 * (rest % level)) / (level - 1)), 4 * (row * image.width + x));
      rest = Math.floor(rest / level);
    });
  });
  paint(context, canvas, image, image.width > canvas.width);
}

function paint(context, canvas, image, smooth) {
  const copy = new OffscreenCanvas(image.width, image.height);
  copy.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.drawImage(copy, 0, 0, canvas.width, canvas.height);
}

/** 0 to 1 as black, violet, orange, light yellow. */
function heat(level) {
  const stops = [[8, 6, 24], [92, 28, 110], [226, 92, 62], [252, 236, 176]];
  const place = Math.min(level, 0.9999) * (stops.length - 1);
  const [low, high] = [stops[Math.floor(place)], stops[Math.floor(place) + 1]];
  return [...low.map((value, index) => value + (high[index] - value) * (place % 1)), 255];
}

/** The fast Fourier transform, in place; lengths are powers of two. */
function transform(real, imaginary) {
  const size = real.length;
  for (let index = 1, other = 0; index < size; index++) {
    let bit = size >> 1;
    for (; other & bit; bit >>= 1) other ^= bit;
    other ^= bit;
    if (index < other) {
      [real[index], real[other]] = [real[other], real[index]];
      [imaginary[index], imaginary[other]] = [imaginary[other], imaginary[index]];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    const half = length / 2;
    for (let place = 0; place < half; place++) {
      const angle = (-2 * Math.PI * place) / length;
      const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
      for (let low = place; low < size; low += length) {
        const high = low + half;
        const [x, y] = [real[high] * cosine - imaginary[high] * sine, real[high] * sine + imaginary[high] * cosine];
        real[high] = real[low] - x;
        imaginary[high] = imaginary[low] - y;
        real[low] += x;
        imaginary[low] += y;
      }
    }
  }
}
