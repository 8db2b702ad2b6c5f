// Buttons, the strip of pictures, the slider.
'use strict';

const $ = (id) => document.getElementById(id);
const MILLISECONDS = 700;  // a frame takes when they play

function element(kind, text = '', parent = null, more = {}) {
  const made = Object.assign(document.createElement(kind), more);
  made.append(text);
  parent?.append(made);
  return made;
}

/** A button that puts a value into a set or takes it out. */
function toggle(parent, text, isOn, set, color = null) {
  const button = element('button', '', parent);
  if (color) {
    element('i', '', button).style.background = `rgb(${color.join()})`;
  }
  button.append(text);
  const show = () => button.setAttribute('aria-pressed', isOn());
  button.addEventListener('click', () => { set(!isOn()); showToggles(); });
  toggles.push(show);
}
const toggles = [];
const showToggles = () => toggles.forEach((show) => show());

/** A toggle for a member of a set; ``hides``: members are off. */
function member(parent, text, set, value, update, hides = false, color = null) {
  toggle(parent, text, () => set.has(value) !== hides, (on) => {
    if (on !== hides) set.add(value);
    else set.delete(value);
    update();
  }, color);
}

function redrawVolumes() {
  updateVolumes();
  showPanes();
  draw();
}

function makeToggles(arrays) {
  const there = NAMES.filter((name) => arrays[name]
    || (name === 'difference' && arrays.prediction && arrays.truth));
  for (const name of there) {
    member($('volumes'), name, state.volumes, name, redrawVolumes);
    if (name !== 'difference') state.volumes.add(name);
  }
  const absent = new Set();
  if (!arrays.prediction_flow && !arrays.truth_flow) absent.add('flow');
  if (!arrays.visible || there.length < 3) absent.add('seen');
  for (const [name, text] of Object.entries(LAYERS)) {
    if (absent.has(name)) continue;
    const update = () => {
      $('strip').hidden = !state.layers.has('strip');
      if (name === 'seen') updateVolumes();
      draw();
    };
    member($('layers'), text, state.layers, name, update);
  }
  KINDS.forEach(([text, color], kind) => member(
    $('kinds'), text, state.hiddenKinds, kind, redrawVolumes, true, color));
  for (const id of scene.occupied) {
    member($('classes'), scene.classes[id], state.hidden, id, redrawVolumes,
      true, scene.palette[id]);
  }
  const all = { all: [], none: scene.occupied };
  for (const [text, hidden] of Object.entries(all)) {
    element('button', text, $('classes'), { className: 'plain' })
      .addEventListener('click', () => {
        state.hidden.clear();
        hidden.forEach((id) => state.hidden.add(id));
        redrawVolumes();
        showToggles();
      });
  }
}

function showPanes() {
  const panes = NAMES.filter((name) => state.volumes.has(name));
  $('panes').replaceChildren(...panes.map((name) => element('div', name)));
  $('kinds').hidden = !state.volumes.has('difference');
}

function showStrip() {
  const { cameras, pictures } = state.data, strip = $('strip');
  strip.replaceChildren();
  strip.style.setProperty('--cameras', cameras.length);
  element('span', '', strip);
  cameras.forEach((name, n) => element(
    'span', name, strip,
    { className: 'name', title: 'look through this camera',
      onclick: () => lookThrough(n) }));
  for (const [kind, images] of Object.entries(pictures)) {
    element('span', kind, strip);
    images.forEach((src, n) => element('img', '', strip, {
      src, alt: `${kind}, ${cameras[n]}`, title: 'look through this camera',
      onclick: () => lookThrough(n) }));
  }
}

/** The view of one of the car's cameras. */
function lookThrough(n) {
  const { values } = state.data.arrays.frusta;
  const [eye, a, b, c, d] = [0, 1, 2, 3, 4].map(
    (k) => new THREE.Vector3(...values.subarray(15 * n + 3 * k)));
  const middle = a.clone().add(b).add(c).add(d).divideScalar(4);
  const axis = middle.clone().sub(eye);
  const height = a.distanceTo(d);
  camera.fov = 2 * Math.atan(height / 2 / axis.length()) * 180 / Math.PI;
  camera.position.copy(eye);
  controls.target.copy(eye).addScaledVector(axis.normalize(), 10);
  for (const layer of ['cameras', 'car']) state.layers.delete(layer);
  showToggles();
  controls.update();
  draw();
}

let wanted = 0;
async function showFrame(number) {
  wanted = number;
  const data = await decode(number);
  if (wanted !== number) return;  // the slider has moved on
  state.frame = number;
  state.data = data;
  $('time').value = number;
  $('title').textContent = data.title;
  updateSensors();
  updateVolumes();
  showStrip();
  draw();
}

function play() {
  clearInterval(state.playing);
  state.playing = state.playing === null ? setInterval(() => {
    showFrame((state.frame + 1) % frameScripts.length);
  }, MILLISECONDS) : null;
  $('play').textContent = state.playing === null ? '▶' : '■';
}

function savePicture() {
  drawNow();
  const { width, height } = $('canvas');
  const copy = element('canvas', '', null, { width, height });
  const context = copy.getContext('2d');
  context.drawImage($('canvas'), 0, 0);
  const panes = NAMES.filter((name) => state.volumes.has(name));
  const scale = width / $('canvas').clientWidth;
  context.font = `${14 * scale}px system-ui, sans-serif`;
  context.fillStyle = '#fff';
  panes.forEach((name, n) => context.fillText(
    name, n * width / panes.length + 12 * scale, 22 * scale));
  copy.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    element('a', '', null, {
      href: url, download: `occsplat_${state.frame}.png` }).click();
    URL.revokeObjectURL(url);
  });
}

async function start() {
  try {
    startDrawing();
  } catch (error) {
    $('failure').textContent = `No WebGL 2: ${error.message}`;
    $('failure').hidden = false;
    return;
  }
  const first = await decode(0);
  makeToggles(first.arrays);
  put('car', ownCar());
  $('time').max = frameScripts.length - 1;
  $('time').addEventListener('input', () => showFrame(+$('time').value));
  $('play').addEventListener('click', play);
  $('reset').addEventListener('click', resetView);
  $('picture').addEventListener('click', savePicture);
  showPanes();
  showToggles();
  await showFrame(0);
  drawNow();
  viewer.ready = true;
}

start();
