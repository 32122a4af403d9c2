// The page: a clip or live audio in, tokens, pictures and sound out. The codec itself runs in worker.js.

import { readSqc, writeSqc } from "./container.js";
import { drawSpectrogram, drawTokens, drawWaveform, peakOf } from "./draw.js";
import { Predictor } from "./predictor.js";

const find = (id) => document.getElementById(id);
const LIVE_FRAMES = 4; // in a piece: fewer come out sooner and take more work
const LIVE_SECONDS = 4; // that are shown

const models = new Map(); // name: {folder, about}
let model, context, clip, session, player;

// ---- the worker

const worker = new Worker("worker.js", { type: "module" });
const calls = new Map();
let lastCall = 0;

function call(method, options, transfer = []) {
  worker.postMessage({ id: ++lastCall, method, options }, transfer);
  return new Promise((resolve, reject) => calls.set(lastCall, { resolve, reject }));
}

worker.onmessage = ({ data }) => {
  if (data.event === "live") return session?.heard(data);
  if (data.event === "progress") return say(`Coding … ${Math.round(100 * data.share)} %`);
  const { resolve, reject } = calls.get(data.id);
  calls.delete(data.id);
  return data.error ? reject(new Error(data.error)) : resolve(data.result);
};
worker.onerror = (event) => complain(new Error(event.message || "the codec's worker did not start"));

// ---- what the page says

function say(text) {
  find("status").textContent = text;
  find("status").classList.remove("error");
}

function complain(error) {
  find("status").textContent = error.message;
  find("status").classList.add("error");
}

/** One thing at a time; what goes wrong is shown. */
let queue = Promise.resolve();
function run(action) {
  queue = queue.then(action).catch(complain);
  return queue;
}

const tokenRate = (about) => (about.sample_rate * about.tokens_per_frame) / about.frame_length;
const bitsOf = (about, bits) => (about.bits ? bits : Math.log2(about.codebook_size));
const kbps = (about, bits) => (tokenRate(about) * bitsOf(about, bits)) / 1000;
const bytesText = (bytes) => (bytes < 1e4 ? `${(bytes / 1000).toFixed(2)} kB` : bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

// ---- the model

async function findModels() {
  const names = await (await fetch("models/index.json")).json();
  for (const name of names) {
    const folder = new URL(`models/${name}/`, location.href).href;
    models.set(name, { folder, about: await (await fetch(`${folder}model.json`)).json() });
    find("model").add(new Option(name, name));
  }
}

async function findDevices() {
  const cores = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  for (const threads of [1, 2, 4].filter((count) => count <= cores)) {
    find("device").add(new Option(threads === 1 ? "CPU, 1 thread" : `CPU, ${threads} threads`, `cpu ${threads}`));
  }
  if (await navigator.gpu?.requestAdapter()) find("device").add(new Option("GPU (WebGPU)", "gpu 1"));
}

async function loadModel(name) {
  const [device, threads] = find("device").value.split(" ");
  say(`Loading ${name} …`);
  find("model").value = name;
  const { folder, about } = models.get(name);
  const milliseconds = await call("load", { folder, device, threads: Number(threads) });
  model = { name, folder, about, bits: about.bits?.[1] ?? null };
  const slider = find("rate");
  [slider.min, slider.max] = about.bits ? [about.bits[0], about.bits[2]] : [0, 0];
  slider.value = model.bits ?? 0;
  slider.disabled = !about.bits;
  find("rate-hint").textContent = about.bits ? "One model, many rates: a token of fewer bits is the beginning of a longer one." : "This model has one rate.";
  showRate();
  say(`Ready (loaded in ${(milliseconds / 1000).toFixed(1)} s)`);
}

function showRate() {
  const { about, bits } = model;
  const size = about.bits ? `${bits} bits` : `${about.codebook_size.toLocaleString("en")} codes`;
  find("rate-text").textContent = `${kbps(about, bits).toFixed(2)} kbit/s: ${tokenRate(about).toFixed(1)} tokens a second of ${size}`;
}

/** Of the finest tokens, those of the rate that is chosen. */
function cutTokens(tokens) {
  const { about, bits } = model;
  return about.bits ? tokens.map((row) => row.map((token) => Math.floor(token / 2 ** (about.bits[2] - bits)))) : tokens;
}

// ---- clips

function audioContext() {
  context ??= new AudioContext({ sampleRate: model.about.sample_rate, latencyHint: "interactive" });
  context.resume();
  return context;
}

async function openFile(file) {
  stopPlaying();
  const bytes = new Uint8Array(await file.arrayBuffer());
  const name = file.name.replace(/\.[^.]*$/, "") || "clip";
  if (bytes[0] === 0x89 && bytes[1] === 0x53) return openCodes(bytes, name, file.name);
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, model.about.sample_rate).decodeAudioData(bytes.buffer);
  } catch {
    throw new Error(`${file.name}: this browser cannot read it as sound. Try wav, flac, mp3, ogg or m4a.`);
  }
  return openSamples(Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel)), name);
}

async function openSamples(channels, name) {
  const { tokens, milliseconds } = await call("encode", { channels });
  clip = { name, model, original: channels, finest: tokens, length: channels[0].length, encoding: milliseconds };
  await decodeClip();
}

async function openCodes(bytes, name, shown) {
  let decoded;
  try {
    decoded = await readSqc(bytes, findPredictor);
  } catch (error) {
    throw new Error(`${shown}: ${error.message}`);
  }
  const { header, tokens } = decoded;
  const known = modelOf(header);
  if (!known) throw new Error(`${shown} was made by the model '${header.model}' (${header.weightsHash}), which this page does not have.`);
  if (known !== model.name) await loadModel(known);
  if (model.about.bits) {
    model.bits = header.bits;
    find("rate").value = header.bits;
    showRate();
  }
  clip = { name, model, header, codes: tokens, length: header.codedLength };
  await decodeClip();
}

function modelOf(header) {
  const same = ([, { about }]) => [about.weights_hash, ...(about.also ?? [])].some((hash) => hash.startsWith(header.weightsHash));
  return [...models].find(same)?.[0];
}

async function findPredictor(header) {
  const known = modelOf(header);
  const response = known && (await fetch(`${models.get(known).folder}entropy.safetensors`));
  if (!response?.ok) throw new Error(`it is entropy coded, and this page has no predictor of '${header.model}': 'sqcodec decode' may have it`);
  return Predictor.load(new Uint8Array(await response.arrayBuffer()));
}

/** Decodes the clip at the rate that is chosen, and shows it. */
async function decodeClip() {
  const { about } = model;
  const bits = model.bits;
  let tokens;
  if (clip.finest) {
    tokens = cutTokens(clip.finest);
  } else {
    // A file can be cut to fewer bits, never given more.
    const shift = about.bits ? clip.header.bits - bits : 0;
    if (shift < 0) throw new Error(`The file has ${clip.header.bits} bits a token: choose ${clip.header.bits} or fewer.`);
    tokens = clip.codes.map((row) => row.map((token) => Math.floor(token / 2 ** shift)));
  }
  const { channels, milliseconds } = await call("decode", { tokens, bits, length: clip.length });
  const header = {
    model: about.model, weightsHash: clip.header?.weightsHash ?? about.weights_hash, sampleRate: about.sample_rate,
    originalSampleRate: clip.header?.originalSampleRate ?? about.sample_rate,
    numSamples: clip.header?.numSamples ?? clip.length, levels: about.levels,
    codebookSize: about.bits ? 2 ** bits : about.codebook_size,
    bitsRange: about.bits ? [about.bits[0], about.bits[2]] : null,
    hopLength: about.bits ? about.frame_length / about.tokens_per_frame : 0,
  };
  const sqc = writeSqc(header, tokens);
  const playing = player?.position();
  Object.assign(clip, { tokens, decoded: channels, decoding: milliseconds, sqc, bits });
  find("clip").hidden = false;
  showClip();
  if (playing !== undefined) play(playing);
  const seconds = clip.length / about.sample_rate;
  const speed = (taken) => Number(((1000 * seconds) / taken).toPrecision(2));
  const speeds = [clip.encoding && `coded ${speed(clip.encoding)}`, `decoded ${speed(milliseconds)}`];
  say(`${speeds.filter(Boolean).join(" and ")} times as fast as real time`);
}

function showClip() {
  const { about } = model;
  const seconds = clip.length / about.sample_rate;
  const original = Boolean(clip.original);
  find("original-pictures").hidden = !original;
  for (const button of find("heard").children) button.disabled = !original;
  if (!original) choose("heard", "decoded");
  const peak = Math.max(peakOf(clip.decoded[0]), peakOf(clip.original?.[0] ?? []));
  if (original) {
    drawWaveform(find("original-wave"), clip.original[0], "--other", peak);
    drawSpectrogram(find("original-spectrogram"), clip.original[0]);
  }
  drawWaveform(find("decoded-wave"), clip.decoded[0], "--accent", peak);
  drawSpectrogram(find("decoded-spectrogram"), clip.decoded[0]);
  drawTokens(find("tokens"), clip.tokens[0], about.levels, clip.bits);
  const count = clip.tokens[0].length;
  const channels = clip.tokens.length;
  find("tokens-text").textContent = `${clip.tokens[0].slice(0, 8).join(" ")}${count > 8 ? " …" : ""}`;
  const pcm = 2 * clip.length * channels;
  const numbers = {
    Length: `${seconds.toFixed(2)} s${channels > 1 ? `, ${channels} channels` : ""}`,
    Tokens: `${count.toLocaleString("en")}${channels > 1 ? ` × ${channels}` : ""}`,
    ".sqc file": `${bytesText(clip.sqc.length)}, ${((8 * clip.sqc.length) / seconds / 1000).toFixed(2)} kbit/s`,
    "As 16-bit PCM": `${bytesText(pcm)}, ${Math.round(pcm / clip.sqc.length)} times larger`,
  };
  find("numbers").replaceChildren(...Object.entries(numbers).map(([name, value]) => {
    const entry = document.createElement("div");
    entry.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value }));
    return entry;
  }));
  showTime(0);
}

// ---- playing, A against B

function play(from = 0) {
  stopPlaying();
  const audio = audioContext();
  const start = audio.currentTime + 0.03;
  const sources = ["original", "decoded"].filter((kind) => clip[kind]).map((kind) => {
    const buffer = audio.createBuffer(clip[kind].length, clip.length, model.about.sample_rate);
    clip[kind].forEach((samples, channel) => buffer.copyToChannel(samples, channel));
    const gain = new GainNode(audio, { gain: kind === chosen("heard") ? 1 : 0 });
    const source = new AudioBufferSourceNode(audio, { buffer });
    source.connect(gain).connect(audio.destination);
    source.start(start, from);
    return { kind, source, gain };
  });
  const position = () => Math.min(Math.max(audio.currentTime - start, 0) + from, clip.length / model.about.sample_rate);
  player = { sources, position };
  sources[0].source.onended = () => stopPlaying();
  find("play").textContent = "Stop";
  const follow = () => {
    if (player?.position !== position) return;
    showTime(position());
    requestAnimationFrame(follow);
  };
  follow();
}

function stopPlaying() {
  for (const { source } of player?.sources ?? []) {
    source.onended = null;
    source.stop();
  }
  player = undefined;
  find("play").textContent = "Play";
  if (clip?.decoded) showTime(0);
}

function showTime(seconds) {
  const total = clip.length / model.about.sample_rate;
  find("time").textContent = `${seconds.toFixed(1)} / ${total.toFixed(1)} s`;
  find("playhead").style.left = `${(100 * seconds) / total}%`;
}

function choose(group, heard) {
  for (const button of find(group).children) button.setAttribute("aria-pressed", String(button.dataset.heard === heard));
  for (const { kind, gain } of player?.sources ?? []) gain.gain.setTargetAtTime(kind === heard ? 1 : 0, context.currentTime, 0.005);
}

const chosen = (group) => find(group).querySelector("[aria-pressed=true]").dataset.heard;

// ---- recording and live

async function startLive(heard) {
  stopPlaying();
  const audio = audioContext();
  let stream;
  try {
    const plain = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  } catch (error) {
    throw new Error(`The microphone cannot be used: ${error.message}. It needs your permission, and https or localhost.`);
  }
  await audio.audioWorklet.addModule("live.js");
  const { about } = model;
  const piece = LIVE_FRAMES * about.frame_length;
  const node = new AudioWorkletNode(audio, "live", { processorOptions: { piece, lookahead: about.lookahead }, outputChannelCount: [1] });
  const { port1, port2 } = new MessageChannel();
  await call("live", { port: port2, bits: model.bits }, [port2]);
  node.port.postMessage({ port: port1, heard }, [port1]);
  const microphone = audio.createMediaStreamSource(stream);
  microphone.connect(node).connect(audio.destination);
  const pieces = { samples: [], decoded: [], finest: [] };
  session = { node, pieces, busy: 0, count: 0, drawn: 0, skipped: 0 };
  session.heard = ({ samples, decoded, finest, milliseconds }) => {
    pieces.samples.push(samples);
    if (!decoded) return session.skipped++;
    pieces.decoded.push(decoded);
    pieces.finest.push(finest);
    session.count++;
    session.busy += (milliseconds - session.busy) / Math.min(session.count, 20);
    if (performance.now() - session.drawn > 90) showLive();
  };
  node.port.onmessage = ({ data }) => {
    const device = (audio.baseLatency ?? 0) + (audio.outputLatency ?? 0);
    session.latency = data.delay;
    const load = session.busy / ((1000 * piece) / about.sample_rate);
    const ms = (value) => `${Math.round(1000 * value)} ms`;
    find("live-numbers").textContent = data.delay === null ? "Listening …"
      : `Latency ${ms(data.delay + device)}: codec ${ms(data.delay)}, sound card ${ms(device)} · coding and decoding take `
        + `${Math.round(100 * load)} % of real time${session.skipped ? ": too slow, some is skipped" : ""} · ${data.gaps} gaps`;
  };
  session.stop = () => {
    node.port.onmessage = null;
    microphone.disconnect();
    node.disconnect();
    stream.getTracks().forEach((track) => track.stop());
  };
  choose("live-heard", heard);
  setBusy(true);
  say(heard === "nothing" ? "Recording" : "Live");
}

/** While live: the monitor instead of the clip, and nothing else to start. */
function setBusy(busy) {
  find("monitor").hidden = !busy;
  find("clip").hidden = busy || !clip;
  for (const id of ["file", "record", "live", "example", "model", "device"]) find(id).disabled = busy;
}

const joined = (parts) => {
  const whole = new (parts[0]?.constructor ?? Float32Array)(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((position, part) => (whole.set(part, position), position + part.length), 0);
  return whole;
};

function showLive() {
  session.drawn = performance.now();
  const last = Math.ceil((LIVE_SECONDS * model.about.sample_rate) / (LIVE_FRAMES * model.about.frame_length));
  drawWaveform(find("live-wave"), joined(session.pieces.decoded.slice(-last)));
  drawTokens(find("live-tokens"), cutTokens([joined(session.pieces.finest.slice(-last))])[0], model.about.levels, model.bits);
}

async function stopLive() {
  const { pieces } = session;
  session.stop();
  session = undefined;
  setBusy(false);
  if (!pieces.samples.length) return say("Nothing was recorded.");
  await openSamples([joined(pieces.samples)], "recording");
  clip.live = joined(pieces.finest);
}

// ---- saving

function save(bytes, name, type) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([bytes], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1e4);
}

/** 16-bit wav of [T] for each channel. */
function wav(channels, rate) {
  const [count, length] = [channels.length, channels[0].length];
  const view = new DataView(new ArrayBuffer(44 + 2 * count * length));
  const text = (position, word) => [...word].forEach((letter, index) => view.setUint8(position + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, count, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * count * rate, true);
  view.setUint16(32, 2 * count, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, view.byteLength - 44, true);
  channels.forEach((samples, channel) => samples.forEach((sample, index) => {
    view.setInt16(44 + 2 * (index * count + channel), Math.min(Math.max(Math.round(32768 * sample), -32768), 32767), true);
  }));
  return view.buffer;
}

// ---- what the controls do

find("file").onchange = ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) run(() => openFile(file));
};
find("example").onclick = () => run(async () => {
  audioContext();
  const response = await fetch("example.flac");
  await openFile(new File([await response.blob()], "example.flac"));
});
find("record").onclick = () => run(() => startLive("nothing"));
find("live").onclick = () => run(() => startLive("codec"));
find("stop").onclick = () => run(stopLive);
find("live-heard").onclick = ({ target: { dataset } }) => {
  if (!dataset.heard) return;
  choose("live-heard", dataset.heard);
  session?.node.port.postMessage({ heard: dataset.heard });
};
find("rate").oninput = ({ target }) => {
  model.bits = Number(target.value);
  showRate();
  if (session) call("rate", { bits: model.bits });
};
find("rate").onchange = () => {
  if (clip && !session) run(decodeClip);
};
const reload = () => run(async () => {
  stopPlaying();
  await loadModel(find("model").value);
  if (clip?.original) await openSamples(clip.original, clip.name);
  else find("clip").hidden = true;
});
find("model").onchange = reload;
find("device").onchange = reload;
find("play").onclick = () => (player ? stopPlaying() : play());
find("heard").onclick = ({ target: { dataset } }) => dataset.heard && choose("heard", dataset.heard);
find("pictures").onclick = (event) => {
  const { left, width } = find("pictures").getBoundingClientRect();
  play((Math.min(Math.max((event.clientX - left) / width, 0), 0.999) * clip.length) / model.about.sample_rate);
};
find("save-sqc").onclick = () => save(clip.sqc, `${clip.name}.sqc`, "application/octet-stream");
find("save-wav").onclick = () => save(wav(clip.decoded, model.about.sample_rate), `${clip.name}_decoded.wav`, "audio/wav");

addEventListener("keydown", (event) => {
  if (!clip?.decoded || session || /^(INPUT|SELECT|BUTTON)$/.test(event.target.tagName)) return;
  if (event.key === " ") {
    event.preventDefault();
    find("play").click();
  }
  if (event.key.toLowerCase() === "x" && clip.original) choose("heard", chosen("heard") === "original" ? "decoded" : "original");
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file && !session) run(() => openFile(file));
});
let resizing;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => clip?.decoded && !session && showClip(), 200);
});

/** For tests: what the page holds; `idle` is a promise of all that was asked for so far. */
window.sqcodec = {
  get clip() { return clip; },
  get model() { return model; },
  get session() { return session; },
  get idle() { return queue; },
};

run(async () => {
  await findModels();
  await findDevices();
  await loadModel(find("model").value);
  const credits = await fetch("CREDITS.txt");
  if (credits.ok) find("credits").textContent = await credits.text();
});
