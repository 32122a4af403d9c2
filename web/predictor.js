// Payload kind 1 of the .sqc file: a range decoder, and the predictor in integers. Specified in docs/code-file.md.

import { ContainerError, Cursor } from "./container.js";

const TENSORS = [
  "alphabets", "count", "hidden", "hidden_bias", "input", "odds", "output", "output_bias", "phase", "recurrent",
  "recurrent_bias", "sigmoid", "tanh", "within",
];

class RangeDecoder {
  constructor(bytes) {
    Object.assign(this, { bytes, position: 4, range: 2 ** 32 - 1 });
    this.code = [0, 1, 2, 3].reduce((code, index) => code * 256 + (bytes[index] ?? 0), 0);
  }

  /** The next symbol, of these frequencies. */
  read(frequencies) {
    const unit = Math.floor(this.range / frequencies.reduce((sum, value) => sum + value, 0));
    const target = Math.floor(this.code / unit);
    let start = 0;
    let symbol = 0;
    while (symbol < frequencies.length && target >= start + frequencies[symbol]) start += frequencies[symbol++];
    if (symbol === frequencies.length) throw new ContainerError("the payload is damaged: a code lies outside of every symbol");
    this.code -= unit * start;
    this.range = unit * frequencies[symbol];
    while (this.range < 2 ** 24) {
      this.code = this.code * 256 + (this.bytes[this.position++] ?? 0);
      this.range *= 256;
    }
    return symbol;
  }
}

export class Predictor {
  constructor(tensors, hash) {
    Object.assign(this, tensors, { hash });
    this.units = this.recurrent_bias.length;
    this.symbols = this.alphabets.length;
    this.each = this.hidden_bias.length / this.symbols;
    this.widest = this.output_bias.length / this.symbols;
    this.phases = this.phase.length / (3 * this.units);
    let rows = 0;
    this.firstRows = Array.from(this.alphabets, (size) => (rows += size) - size);
  }

  /** Of the bytes of `entropy.safetensors`. */
  static async load(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = Number(view.getBigUint64(0, true));
    const table = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const tensors = {};
    const hashed = [];
    for (const name of TENSORS) {
      const { dtype, shape, data_offsets: [first, last] } = table[name];
      const part = bytes.slice(8 + length + first, 8 + length + last);
      tensors[name] = dtype === "I32" ? new Int32Array(part.buffer) : new Int16Array(part.buffer);
      const about = { dtype: dtype === "I32" ? "int32" : "int16", name, shape };
      hashed.push(new TextEncoder().encode(JSON.stringify(about) + "\n"), part);
    }
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(hashed).arrayBuffer()));
    return new Predictor(tensors, Array.from(digest.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(""));
  }

  /** Tokens [channel][N] of a payload. */
  decode(payload, header) {
    const cursor = new Cursor(payload);
    const hash = Array.from(cursor.take(8), (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hash !== this.hash) throw new ContainerError(`coded with the predictor ${hash}; the one here is ${this.hash}`);
    const levels = header.levels.length > 0;
    const symbols = levels ? header.levels.length : Math.log2(header.codebookSize);
    const same = levels ? header.levels.join() === this.alphabets.join() : Number.isInteger(symbols) && symbols <= this.symbols;
    if (!same) throw new ContainerError("the predictor here is for other tokens");
    const lanes = Array.from({ length: header.channels }, () => new Lane(this, symbols));
    const tokens = lanes.map(() => new Float64Array(header.numTokens));
    for (let done = 0; done < header.numTokens; ) {
      const count = cursor.varint();
      const decoder = new RangeDecoder(cursor.take(cursor.varint()));
      if (count < 1 || count > header.numTokens - done) throw new ContainerError("a block has more tokens than are left");
      for (const end = done + count; done < end; done++) {
        lanes.forEach((lane, channel) => {
          const found = lane.next(decoder);
          if (levels) tokens[channel][done] = found.reduceRight((token, digit, place) => token * this.alphabets[place] + digit, 0);
          else tokens[channel][done] = found.reduce((token, bit) => 2 * token + bit, 0);
        });
      }
    }
    if (cursor.position !== payload.length) throw new ContainerError("bytes too many after the last block");
    return tokens;
  }
}

/** The state of one channel. Sums stay below 2^53, where numbers are exact. */
class Lane {
  constructor(predictor, symbols) {
    Object.assign(this, { p: predictor, symbols, number: 0, state: new Float64Array(predictor.units) });
  }

  /** Symbols of the next token. */
  next(decoder) {
    const { p, symbols } = this;
    const [units, each] = [p.units, p.each];
    const wide = p.symbols * each;
    const quantized = Int32Array.from(this.state, (value) => Math.floor((value + 64) / 128));
    const rows = [];
    const found = [];
    const active = new Float64Array(each);
    for (let place = 0; place < symbols; place++) {
      for (let unit = 0; unit < each; unit++) {
        const column = place * each + unit;
        let sum = p.hidden_bias[column];
        for (const row of rows) sum += p.within[row * wide + column];
        sum = 256 * sum + dot(p.hidden, column * units, quantized);
        active[unit] = Math.min(Math.max(Math.floor(sum / 512), 0), 2047);
      }
      const scores = Array.from({ length: p.alphabets[place] }, (_, value) => {
        const row = place * p.widest + value;
        return dot(p.output, row * each, active) + 256 * p.output_bias[row];
      });
      const best = Math.max(...scores);
      const symbol = decoder.read(scores.map((score) => p.odds[Math.min(Math.floor((best - score) / 1024), 2047)]));
      rows.push(p.firstRows[place] + symbol);
      found.push(symbol);
    }
    const fixed = [(this.number++ % p.phases) * 3 * units, (symbols - 1) * 3 * units];
    const gate = (unit) => 256 * rows.reduce((sum, row) => sum + p.input[row * 3 * units + unit], p.phase[fixed[0] + unit] + p.count[fixed[1] + unit]);
    const look = (table, sum) => table[Math.min(Math.max(Math.floor(sum / 512) + 2048, 0), 4095)];
    this.state = this.state.map((state, unit) => {
      const [reset, update, fresh] = [unit, units + unit, 2 * units + unit];
      const r = look(p.sigmoid, gate(reset) + dot(p.recurrent, reset * units, quantized));
      const z = look(p.sigmoid, gate(update) + dot(p.recurrent, update * units, quantized));
      const inner = dot(p.recurrent, fresh * units, quantized) + 256 * p.recurrent_bias[unit];
      const n = look(p.tanh, gate(fresh) + Math.floor((r * inner) / 32768));
      return n + Math.floor((z * (state - n) + 16384) / 32768);
    });
    return found;
  }
}

function dot(matrix, first, vector) {
  let sum = 0;
  for (let index = 0; index < vector.length; index++) sum += matrix[first + index] * vector[index];
  return sum;
}
