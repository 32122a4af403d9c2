// Runs the exported graphs (encoder.onnx, decoder.onnx) in onnxruntime-web, beside the page: clips and live audio.

const runtime = new URL("./ort/", import.meta.url).href;
let ort, backend, about, sessions;

/** One of the two graphs with its state: pieces of whole frames in, results out. */
class Coder {
  constructor(kind, batch) {
    this.session = sessions[kind];
    this.batch = batch;
    this.unit = kind === "encoder" ? about.frame_length : about.tokens_per_frame;
    this.input = kind === "encoder" ? "samples" : "tokens";
    this.output = kind === "encoder" ? "tokens" : "samples";
    this.position = 0;
    this.state = about[`${kind}_state`].map((shape) => {
      const size = shape.reduce((product, length) => product * length, batch);
      return new ort.Tensor("float32", new Float32Array(size), [batch, ...shape]);
    });
  }

  /** Values of n frames, [batch, n unit], to what the graph makes of them, [batch, ...]. */
  async push(values, bits) {
    const feed = { position: number(this.position) };
    feed[this.input] = this.input === "samples"
      ? new ort.Tensor("float32", values, [this.batch, values.length / this.batch])
      : new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [this.batch, values.length / this.batch]);
    if (this.session.inputNames.includes("bits")) feed.bits = number(bits);
    this.state.forEach((tensor, index) => (feed[`state_${index}`] = tensor));
    const results = await this.session.run(feed);
    this.state = this.state.map((_, index) => results[`new_state_${index}`]);
    this.position += values.length / this.batch / this.unit;
    const { data } = results[this.output];
    return data instanceof BigInt64Array ? Float64Array.from(data, Number) : data;
  }

  /** All of `rows` (arrays of one length, whole frames), piece by piece; `report` is told the share that is done. */
  async run(rows, bits, report) {
    const total = rows[0].length;
    const step = 96 * this.unit;
    const parts = [];
    for (let start = 0; start < total; start += step) {
      const end = Math.min(start + step, total);
      const piece = new rows[0].constructor((end - start) * this.batch);
      rows.forEach((row, index) => piece.set(row.subarray(start, end), index * (end - start)));
      parts.push(await this.push(piece, bits));
      report?.(end / total);
    }
    return rows.map((_, row) => {
      const cut = parts.map((part) => part.subarray((row * part.length) / this.batch, ((row + 1) * part.length) / this.batch));
      const whole = new cut[0].constructor(cut.reduce((sum, part) => sum + part.length, 0));
      cut.reduce((position, part) => (whole.set(part, position), position + part.length), 0);
      return whole;
    });
  }
}

const number = (value) => new ort.Tensor("int64", BigInt64Array.of(BigInt(value)), []);

/** Of a finest token, the one of `bits`. */
const cut = (tokens, bits) => (about.bits ? tokens.map((token) => Math.floor(token / 2 ** (about.bits[2] - bits))) : tokens);

const methods = {
  /** folder: where the model is. device: "cpu" or "gpu". threads: of the CPU. Returns the milliseconds it took. */
  async load({ folder, device, threads }) {
    const wanted = device === "gpu" ? "webgpu" : "wasm";
    const start = performance.now();
    if (backend !== wanted) ort = await import(`${runtime}ort.${wanted}.min.mjs`);
    backend = wanted;
    ort.env.wasm.wasmPaths = runtime;
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = "error";
    about = await (await fetch(`${folder}model.json`)).json();
    await Promise.all(Object.values(sessions ?? {}).map((session) => session.release()));
    sessions = {};
    for (const kind of ["encoder", "decoder"]) {
      sessions[kind] = await ort.InferenceSession.create(`${folder}${kind}.onnx`, { executionProviders: [wanted] });
    }
    return performance.now() - start;
  },

  /** channels: [T] each, at the model's rate. Returns {tokens: [N] of each, the finest; milliseconds}. */
  async encode({ channels }, report) {
    const frames = Math.ceil((channels[0].length + about.lookahead) / about.frame_length);
    const padded = channels.map((samples) => {
      const row = new Float32Array(frames * about.frame_length);
      row.set(samples);
      return row;
    });
    const start = performance.now();
    const tokens = await new Coder("encoder", channels.length).run(padded, null, report);
    return { tokens, milliseconds: performance.now() - start };
  },

  /** tokens: [N] of each channel, of `bits`. Returns {channels: [length] each, milliseconds}. */
  async decode({ tokens, bits, length }, report) {
    const start = performance.now();
    const output = await new Coder("decoder", tokens.length).run(tokens, bits, report);
    const channels = output.map((samples) => samples.slice(about.lookahead, about.lookahead + length));
    return { channels, milliseconds: performance.now() - start };
  },

  /** Codes what comes through `port`, {samples of whole frames, late}, sends it back decoded, and tells the page. */
  live({ port, bits }) {
    const [encoder, decoder] = [new Coder("encoder", 1), new Coder("decoder", 1)];
    live = { bits };
    let last = Promise.resolve();
    const code = async ({ samples, late }) => {
      if (late) {
        // Slower than real time: silence in its place keeps the delay within bounds; the recording is kept.
        port.postMessage(new Float32Array(samples.length));
        return postMessage({ event: "live", samples });
      }
      const start = performance.now();
      const finest = await encoder.push(samples);
      const decoded = await decoder.push(cut(finest, live.bits), live.bits);
      const milliseconds = performance.now() - start;
      port.postMessage(decoded);
      return postMessage({ event: "live", samples, finest, decoded, milliseconds });
    };
    port.onmessage = ({ data }) => (last = last.then(() => code(data)));
  },

  /** The rate of the live audio from now on. */
  rate({ bits }) {
    live.bits = bits;
  },
};
let live = {};

self.onmessage = async ({ data: { id, method, options } }) => {
  try {
    const result = await methods[method](options, (share) => postMessage({ event: "progress", share }));
    postMessage({ id, result });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
};
