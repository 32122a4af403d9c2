// The .sqc file: tokens of one recording as bytes. Specified in docs/code-file.md; sqcodec/container/ is the reference.
// Payload kind 1 (entropy coded) is read with a predictor (predictor.js); what is written here is of kind 0.

const MAGIC = [0x89, 0x53, 0x51, 0x43];
const BLOCK_BITS = 4096;
const LARGEST_CODEBOOK = 2 ** 53; // tokens are JavaScript numbers here

export class ContainerError extends Error {}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

/** Unsigned LEB128 of a number below 2^53. */
export function varint(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

/** Reads numbers and bytes one after the other, never past the end. */
export class Cursor {
  constructor(bytes, position = 0) {
    Object.assign(this, { bytes, position });
  }

  take(count) {
    if (count > this.bytes.length - this.position) throw new ContainerError("the file ends early");
    this.position += count;
    return this.bytes.subarray(this.position - count, this.position);
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.take(1)[0];
      value |= BigInt(byte & 127) << shift;
      if (byte >= 128) continue;
      if (byte === 0 && shift > 0n) break;
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ContainerError(`${value} is too large for this page`);
      return Number(value);
    }
    throw new ContainerError("a number is not a canonical LEB128");
  }
}

const bitLength = (value) => BigInt(value).toString(2).length;
const blockTokens = (codebookSize) => Math.floor(BLOCK_BITS / bitLength(codebookSize - 1));
const blockBytes = (count, codebookSize) => (count ? Math.ceil(bitLength(BigInt(codebookSize) ** BigInt(count) - 1n) / 8) : 0);

function packedSize(count, codebookSize) {
  const block = blockTokens(codebookSize);
  return Math.floor(count / block) * blockBytes(block, codebookSize) + blockBytes(count % block, codebookSize);
}

function packBlock(tokens, codebookSize) {
  const base = BigInt(codebookSize);
  let value = 0n;
  for (let index = tokens.length - 1; index >= 0; index--) value = value * base + BigInt(tokens[index]);
  const size = blockBytes(tokens.length, codebookSize);
  const hex = value.toString(16).padStart(2 * size, "0");
  return Uint8Array.from({ length: size }, (_, index) => parseInt(hex.substr(2 * (size - 1 - index), 2), 16));
}

function unpackBlock(bytes, count, codebookSize) {
  const base = BigInt(codebookSize);
  let value = BigInt("0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).reverse().join(""));
  if (value >= base ** BigInt(count)) throw new ContainerError("the payload is damaged: a block is too large");
  return Array.from({ length: count }, () => {
    const token = Number(value % base);
    value /= base;
    return token;
  });
}

/** Tokens [channel][N], numbers below `codebookSize`, in the order of the payload. */
function interleave(tokens) {
  const channels = tokens.length;
  return Float64Array.from({ length: channels * tokens[0].length }, (_, index) => tokens[index % channels][Math.floor(index / channels)]);
}

/**
 * The bytes of a file (payload kind 0).
 * header: {model, weightsHash (hex), sampleRate, originalSampleRate, numSamples, codebookSize, levels: [], bitsRange,
 * hopLength}, the last two for nested tokens, else null and 0. tokens: [channel][N].
 */
export function writeSqc(header, tokens) {
  const name = new TextEncoder().encode(header.model);
  const hash = header.weightsHash.slice(0, 16).match(/../g).map((pair) => parseInt(pair, 16));
  const levels = header.levels ?? [];
  const body = [
    ...[header.sampleRate, header.originalSampleRate, tokens.length, header.numSamples, tokens[0].length].flatMap(varint),
    ...[levels.length, ...(levels.length ? levels : [header.codebookSize])].flatMap(varint),
    ...hash, ...varint(name.length), ...name,
    ...(header.bitsRange ? [...header.bitsRange, header.hopLength].flatMap(varint) : []),
  ];
  const length = 8 + body.length + 4;
  const head = [...MAGIC, header.bitsRange ? 2 : 1, 0, length & 255, length >> 8, ...body];
  const flat = interleave(tokens);
  const block = blockTokens(header.codebookSize);
  const payload = [];
  for (let start = 0; start < flat.length; start += block) {
    payload.push(packBlock(flat.subarray(start, start + block), header.codebookSize));
  }
  const bytes = new Uint8Array(length + payload.reduce((sum, part) => sum + part.length, 0) + 4);
  const view = new DataView(bytes.buffer);
  bytes.set(head);
  view.setUint32(length - 4, crc32(bytes.subarray(0, length - 4)), true);
  let position = length;
  for (const part of payload) {
    bytes.set(part, position);
    position += part.length;
  }
  view.setUint32(position, crc32(bytes.subarray(0, position)), true);
  return bytes;
}

function readHeader(bytes) {
  if (MAGIC.some((byte, index) => bytes[index] !== byte)) throw new ContainerError("not a .sqc file");
  if (bytes.length < 12) throw new ContainerError("the file ends early");
  const [version, kind, length] = [bytes[4], bytes[5], bytes[6] | (bytes[7] << 8)];
  if (version !== 1 && version !== 2) throw new ContainerError(`version ${version}; this page reads 1 and 2`);
  if (length < 12 || bytes.length < length) throw new ContainerError("the header ends early");
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (crc32(bytes.subarray(0, length - 4)) !== view.getUint32(length - 4, true)) throw new ContainerError("the header is damaged");
  if (kind > 1) throw new ContainerError(`payload kind ${kind}; this page reads 0 and 1`);
  const fields = new Cursor(bytes.subarray(8, length - 4));
  const [sampleRate, originalSampleRate, channels, numSamples, numTokens] = Array.from({ length: 5 }, () => fields.varint());
  const levels = Array.from({ length: fields.varint() }, () => fields.varint());
  const codebookSize = levels.length ? levels.reduce((product, level) => product * level, 1) : fields.varint();
  const weightsHash = Array.from(fields.take(8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const model = new TextDecoder().decode(fields.take(fields.varint()));
  const bitsRange = version === 2 ? [fields.varint(), fields.varint()] : null;
  const hopLength = version === 2 ? fields.varint() : 0;
  if (fields.position !== fields.bytes.length) throw new ContainerError("unknown bytes at the end of the header");
  if (Math.min(sampleRate, originalSampleRate, channels, numSamples, numTokens) < 1 || channels > 1024) {
    throw new ContainerError("a number in the header is out of range");
  }
  if (codebookSize < 2 || codebookSize >= LARGEST_CODEBOOK || levels.some((level) => level < 2)) {
    throw new ContainerError(`a codebook of ${codebookSize}: too small, or too large for this page`);
  }
  const bits = bitsRange ? bitLength(codebookSize) - 1 : null;
  if (bitsRange && (levels.length || codebookSize !== 2 ** bits || bits < bitsRange[0] || bits > bitsRange[1])) {
    throw new ContainerError("nested tokens of a number of bits that the model does not have");
  }
  const codedLength = Math.ceil((numSamples * sampleRate) / originalSampleRate);
  return {
    length, kind, sampleRate, originalSampleRate, channels, numSamples, numTokens, levels, codebookSize, weightsHash, model,
    bitsRange, bits, hopLength, codedLength,
  };
}

/**
 * {header, tokens: [channel][N]} of the bytes of a file. Throws ContainerError on anything but a whole one.
 * findPredictor(header): the predictor of a file that is entropy coded.
 */
export async function readSqc(bytes, findPredictor) {
  const header = readHeader(bytes);
  const count = header.channels * header.numTokens;
  const end = bytes.length - 4;
  if (header.kind === 0 && end !== header.length + packedSize(count, header.codebookSize)) {
    throw new ContainerError("the payload is cut or too long");
  }
  if (end < header.length || crc32(bytes.subarray(0, end)) !== new DataView(bytes.buffer, bytes.byteOffset).getUint32(end, true)) {
    throw new ContainerError("the payload is damaged");
  }
  const payload = bytes.subarray(header.length, end);
  if (header.kind === 1) return { header, tokens: (await findPredictor(header)).decode(payload, header) };
  const tokens = Array.from({ length: header.channels }, () => new Float64Array(header.numTokens));
  const block = blockTokens(header.codebookSize);
  const size = blockBytes(block, header.codebookSize);
  for (let start = 0, first = 0; start < count; start += block, first += size) {
    const part = unpackBlock(payload.subarray(first, first + size), Math.min(block, count - start), header.codebookSize);
    part.forEach((token, index) => {
      tokens[(start + index) % header.channels][Math.floor((start + index) / header.channels)] = token;
    });
  }
  return { header, tokens };
}
