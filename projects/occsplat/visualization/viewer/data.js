// What is in the page that page.py writes: choices, arrays, surfaces.
'use strict';

const scene = JSON.parse(document.querySelector('script.scene').textContent);
const frameScripts = [...document.querySelectorAll('script.frame')];
const NAMES = ['prediction', 'truth', 'difference'];
// what the difference tells apart, and in which colours
const KINDS = [
  ['right', [128, 134, 145]],
  ['wrong class', [240, 168, 48]],
  ['invented', [226, 62, 87]],
  ['missed', [64, 142, 245]],
];
const NONE = 255;
const LAYERS = {
  flow: 'flow arrows', boxes: 'boxes', points: 'LiDAR', cameras: 'cameras',
  car: 'this car', strip: 'images', seen: 'seen by a camera only',
};
const LAYERS_ON = ['flow', 'boxes', 'cameras', 'car', 'strip'];

const state = {
  frame: 0, data: null, playing: null,
  volumes: new Set(), layers: new Set(LAYERS_ON),
  hidden: new Set(), hiddenKinds: new Set(),
};
// what is drawn, to look at from outside
const viewer = { state, counts: {}, draws: 0, ready: false };
window.viewer = viewer;

const ARRAYS = {
  uint8: Uint8Array, int16: Int16Array, float32: Float32Array,
};
const decoded = new Map();

async function decode(number) {
  if (decoded.has(number)) return decoded.get(number);
  const frame = JSON.parse(frameScripts[number].textContent);
  const bytes = Uint8Array.from(atob(frame.data), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream()
    .pipeThrough(new DecompressionStream('deflate'));
  const buffer = await new Response(stream).arrayBuffer();
  for (const [name, [type, shape, place]] of Object.entries(frame.arrays)) {
    const size = shape.reduce((a, b) => a * b, 1);
    const values = new ARRAYS[type](buffer, place, size);
    frame.arrays[name] = { shape, values };
  }
  delete frame.data;
  decoded.set(number, frame);
  return frame;
}

const occupied = new Uint8Array(256);
for (const id of scene.occupied) occupied[id] = 1;

/** What is drawn of a frame: per volume the code of each voxel. */
function volumeCodes(arrays, name) {
  if (name !== 'difference') return arrays[name].values;
  const predicted = arrays.prediction.values, truth = arrays.truth.values;
  const seen = state.layers.has('seen') && arrays.visible?.values;
  const codes = new Uint8Array(truth.length).fill(NONE);
  for (let i = 0; i < codes.length; i++) {
    const p = predicted[i], t = truth[i];
    if (t === scene.ignore || (seen && !seen[i])) continue;
    const there = occupied[t], said = occupied[p];
    if (!there && !said) continue;
    if (state.hidden.has(there ? t : p)) continue;
    codes[i] = there && said ? (p === t ? 0 : 1) : (said ? 2 : 3);
  }
  return codes;
}

/** Places of the voxels with a face that nothing shown covers. */
function surface(codes, shape, shown) {
  const [X, Y, Z] = shape, places = [];
  for (let x = 0, i = 0; x < X; x++) {
    for (let y = 0; y < Y; y++) {
      for (let z = 0; z < Z; z++, i++) {
        if (!shown[codes[i]]) continue;
        const covered = x > 0 && x < X - 1 && y > 0 && y < Y - 1
          && z > 0 && z < Z - 1
          && shown[codes[i - 1]] && shown[codes[i + 1]]
          && shown[codes[i - Z]] && shown[codes[i + Z]]
          && shown[codes[i - Y * Z]] && shown[codes[i + Y * Z]];
        if (!covered) places.push(i);
      }
    }
  }
  return places;
}
