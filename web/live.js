// In the audio thread: hands the microphone's samples to the codec in pieces, and plays what comes back.

const MARGIN = 2; // blocks of 128 samples
const LONGEST_WAIT = 1; // seconds that the codec may be late

class Live extends AudioWorkletProcessor {
  constructor({ processorOptions: { piece, lookahead } }) {
    super();
    Object.assign(this, { piece, lookahead, heard: "codec", captured: 0, played: 0, gaps: 0, blocks: 0, held: 0, sent: 0, received: 0 });
    this.input = new Float32Array(piece);
    this.filled = 0;
    this.waiting = []; // decoded pieces, the first from `offset` on
    this.offset = 0;
    this.playing = false;
    this.port.onmessage = ({ data }) => {
      if (data.port) {
        this.codec = data.port;
        this.codec.onmessage = ({ data: samples }) => {
          this.waiting.push(samples);
          this.received += samples.length;
        };
      }
      if (data.heard) this.heard = data.heard;
    };
  }

  get ready() {
    return this.waiting.reduce((sum, part) => sum + part.length, -this.offset);
  }

  process([[samples]], [[output]]) {
    if (!this.codec) return true;
    const block = samples ?? new Float32Array(output.length);
    for (const sample of block) {
      this.input[this.filled++] = sample;
      if (this.filled === this.piece) {
        const full = this.input;
        const late = this.sent - this.received > LONGEST_WAIT * sampleRate;
        this.codec.postMessage({ samples: full, late }, [full.buffer]);
        this.sent += this.piece;
        this.input = new Float32Array(this.piece);
        this.filled = 0;
      }
    }
    this.captured += block.length;
    // Playing begins some blocks after the first piece is there, a margin for late ones; what is two pieces late is skipped.
    if (!this.playing && this.ready) this.playing = ++this.held > MARGIN;
    if (this.playing && this.ready > 2 * this.piece + 2 * output.length) this.take(new Float32Array(this.ready - this.piece));
    if (this.playing && this.ready < output.length) {
      this.playing = false;
      this.held = 0;
      this.gaps++;
    }
    if (this.playing) this.take(output);
    if (this.heard === "original") output.set(block);
    if (this.heard === "nothing") output.fill(0);
    if (++this.blocks % 32 === 0) {
      // Sample i of the decoded audio is sample i - lookahead of what was said.
      const delay = this.played ? (this.captured - this.played + this.lookahead) / sampleRate : null;
      this.port.postMessage({ delay, gaps: this.gaps, captured: this.captured });
    }
    return true;
  }

  /** The next decoded samples, into `target`. */
  take(target) {
    for (let done = 0; done < target.length; ) {
      const rest = this.waiting[0].subarray(this.offset);
      const part = rest.subarray(0, target.length - done);
      target.set(part, done);
      done += part.length;
      this.offset += part.length;
      if (part.length === rest.length) {
        this.waiting.shift();
        this.offset = 0;
      }
    }
    this.played += target.length;
  }
}

registerProcessor("live", Live);
