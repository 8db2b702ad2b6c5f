// The 3D drawing. Needs THREE, see three_exports.js.
'use strict';

const FLOW_COLORS = { prediction: [255, 236, 61], truth: [255, 255, 255] };
const FIELD_OF_VIEW = 42;

// colours are those of the palette, not light
THREE.ColorManagement.enabled = false;
const background = new THREE.Color(...scene.background.map((c) => c / 255));
const world = new THREE.Scene();
world.background = background;
world.fog = new THREE.Fog(background, 35, 170);
const camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.2, 600);
camera.up.set(0, 0, 1);
const shown3d = new Map();  // name of a part -> object
let renderer, controls;

function startDrawing() {
  renderer = new THREE.WebGLRenderer({ canvas: $('canvas'), antialias: true });
  renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
  renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
  controls = new THREE.OrbitControls(camera, $('canvas'));
  controls.addEventListener('change', draw);
  controls.maxDistance = 300;
  resetView();
  new ResizeObserver(draw).observe($('canvas'));
}

function resetView() {
  camera.fov = FIELD_OF_VIEW;
  camera.position.set(...scene.eye);
  controls.target.set(...scene.target);
  controls.update();
  draw();
}

/** Replace a part of the world. */
function put(name, object) {
  const old = shown3d.get(name);
  if (old) {
    world.remove(old);
    old.traverse((part) => {
      part.geometry?.dispose();
      part.material?.map?.dispose();
      part.material?.dispose();
      if (part.isInstancedMesh) part.dispose();
    });
  }
  shown3d.delete(name);
  if (!object) return;
  world.add(object);
  shown3d.set(name, object);
}

/** White with a dark border, which distance makes grey. */
function edgeTexture() {
  const size = 64, width = 3, pixels = new Uint8Array(size * size * 4);
  for (let i = 0; i < size * size; i++) {
    const x = i % size, y = (i - x) / size;
    const inside = Math.min(x, y, size - 1 - x, size - 1 - y) >= width;
    pixels.fill(inside ? 255 : 158, 4 * i, 4 * i + 3);
    pixels[4 * i + 3] = 255;
  }
  const texture = new THREE.DataTexture(pixels, size, size);
  texture.minFilter = THREE.LinearMipmapLinearFilter;
  texture.magFilter = THREE.LinearFilter;
  texture.generateMipmaps = true;
  texture.needsUpdate = true;
  return texture;
}

/** A box whose faces have the brightness that sheets give them. */
function litBox(x, y, z) {
  const box = new THREE.BoxGeometry(x, y, z);
  const light = scene.light.flatMap((value) => Array(12).fill(value));
  box.setAttribute(
    'color', new THREE.BufferAttribute(new Float32Array(light), 3));
  return box;
}

function cubes(codes, shape, shown, palette) {
  const places = surface(codes, shape, shown);
  const low = scene.range.slice(0, 3);
  const size = shape.map((n, k) => (scene.range[k + 3] - low[k]) / n);
  const material = new THREE.MeshBasicMaterial(
    { vertexColors: true, map: edgeTexture() });
  const mesh = new THREE.InstancedMesh(
    litBox(...size), material, Math.max(places.length, 1));
  mesh.count = places.length;
  mesh.frustumCulled = false;
  const colors = new Float32Array(3 * mesh.instanceMatrix.count);
  const matrices = mesh.instanceMatrix.array;
  const [, Y, Z] = shape;
  places.forEach((place, n) => {
    const z = place % Z, y = (place - z) / Z % Y;
    const x = Math.floor(place / (Y * Z));
    const at = 16 * n;
    matrices.fill(0, at, at + 16);
    matrices[at] = matrices[at + 5] = matrices[at + 10] = 1;
    [x, y, z].forEach((v, k) => {
      matrices[at + 12 + k] = low[k] + (v + 0.5) * size[k];
    });
    matrices[at + 15] = 1;
    // neighbours of one class are told apart by a little light
    const light = (0.96 + 0.04 * ((x + y + z) % 2)) / 255;
    palette[codes[place]].forEach((c, k) => {
      colors[3 * n + k] = c * light;
    });
  });
  mesh.instanceColor = new THREE.InstancedBufferAttribute(colors, 3);
  return mesh;
}

function updateVolumes() {
  for (const name of NAMES) {
    const arrays = state.data.arrays;
    if (!state.volumes.has(name)) {
      put(name, null);
      viewer.counts[name] = 0;
      continue;
    }
    const different = name === 'difference', shown = new Uint8Array(256);
    const ids = different ? KINDS.keys() : scene.occupied;
    const hidden = different ? state.hiddenKinds : state.hidden;
    for (const id of ids) shown[id] = hidden.has(id) ? 0 : 1;
    const shape = (arrays[name] ?? arrays.truth).shape;
    const palette = different ? KINDS.map((kind) => kind[1]) : scene.palette;
    put(name, cubes(volumeCodes(arrays, name), shape, shown, palette));
    viewer.counts[name] = shown3d.get(name).count;
  }
}

/** An arrow of each row (x, y, z, vx, vy): the way of arrow_seconds. */
function flowArrows({ shape, values }, color) {
  const count = shape[0], group = new THREE.Group();
  const material = new THREE.MeshBasicMaterial({
    color: new THREE.Color(...color.map((c) => c / 255)) });
  const shaft = new THREE.CylinderGeometry(0.045, 0.045, 1, 6);
  const head = new THREE.ConeGeometry(0.16, 0.5, 8);
  const parts = [shaft, head].map((geometry) => {
    const mesh = new THREE.InstancedMesh(geometry, material, count);
    mesh.frustumCulled = false;
    group.add(mesh);
    return mesh;
  });
  const along = new THREE.Vector3(), up = new THREE.Vector3(0, 1, 0);
  const turn = new THREE.Quaternion(), matrix = new THREE.Matrix4();
  const one = new THREE.Vector3(1, 1, 1);
  for (let n = 0; n < count; n++) {
    const [x, y, z, vx, vy] = values.subarray(5 * n, 5 * n + 5);
    along.set(vx, vy, 0).multiplyScalar(scene.arrow_seconds);
    const length = along.length(), start = new THREE.Vector3(x, y, z + 0.1);
    turn.setFromUnitVectors(up, along.clone().normalize());
    const middle = start.clone().addScaledVector(along, 0.5);
    matrix.compose(middle, turn, new THREE.Vector3(1, length, 1));
    parts[0].setMatrixAt(n, matrix);
    matrix.compose(start.add(along), turn, one);
    parts[1].setMatrixAt(n, matrix);
  }
  return group;
}

function lines(points, material) {
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute(
    'position', new THREE.BufferAttribute(new Float32Array(points), 3));
  return new THREE.LineSegments(geometry, material);
}

function boxLines(corners, colors) {
  const points = [], tints = [], edges = scene.box_edges.flat();
  for (let n = 0; n < corners.shape[0]; n++) {
    for (const corner of edges) {
      const at = 24 * n + 3 * corner;
      points.push(...corners.values.subarray(at, at + 3));
      for (let k = 0; k < 3; k++) tints.push(colors.values[3 * n + k] / 255);
    }
  }
  const object = lines(
    points, new THREE.LineBasicMaterial({ vertexColors: true, fog: false }));
  object.geometry.setAttribute(
    'color', new THREE.BufferAttribute(new Float32Array(tints), 3));
  return object;
}

function lidarPoints({ values }) {
  const geometry = new THREE.BufferGeometry();
  const metres = Float32Array.from(values, (v) => v * scene.point_step);
  geometry.setAttribute('position', new THREE.BufferAttribute(metres, 3));
  return new THREE.Points(geometry, new THREE.PointsMaterial(
    { color: 0xfff3b0, size: 2, sizeAttenuation: false }));
}

/** Pyramids with the photographs on their bases. */
function frusta({ shape, values }, photos) {
  const group = new THREE.Group(), points = [];
  for (let n = 0; n < shape[0]; n++) {
    const corner = (k) => values.subarray(15 * n + 3 * k, 15 * n + 3 * k + 3);
    for (let k = 1; k < 5; k++) {
      points.push(...corner(0), ...corner(k));
      points.push(...corner(k), ...corner(k % 4 + 1));
    }
    const geometry = new THREE.BufferGeometry();
    const base = values.slice(15 * n + 3, 15 * n + 15);
    geometry.setAttribute('position', new THREE.BufferAttribute(base, 3));
    const uv = new Float32Array([0, 1, 1, 1, 1, 0, 0, 0]);
    geometry.setAttribute('uv', new THREE.BufferAttribute(uv, 2));
    geometry.setIndex([0, 1, 2, 0, 2, 3]);
    const texture = new THREE.Texture(new Image());
    texture.image.onload = () => { texture.needsUpdate = true; draw(); };
    texture.image.src = photos[n];
    group.add(new THREE.Mesh(geometry, new THREE.MeshBasicMaterial(
      { map: texture, side: THREE.DoubleSide, fog: false })));
  }
  group.add(lines(points, new THREE.LineBasicMaterial({ color: 0xc8d2e0 })));
  return group;
}

function ownCar() {
  const { behind, ahead, side, ground, height } = scene.car;
  const group = new THREE.Group(), length = ahead - behind;
  const material = new THREE.MeshBasicMaterial({ vertexColors: true });
  const part = (from, to, width, low, high) => {
    const mesh = new THREE.Mesh(
      litBox((to - from) * length, 2 * width, (high - low) * height),
      material);
    mesh.position.set(
      behind + (from + to) / 2 * length, 0,
      ground + (low + high) / 2 * height);
    group.add(mesh);
  };
  part(0, 1, side, 0.15, 0.6);
  part(0.12, 0.68, 0.85 * side, 0.6, 1);
  group.rotation.z = Math.atan2(scene.forward[1], scene.forward[0]);
  return group;
}

function updateSensors() {
  const { arrays, pictures } = state.data;
  for (const name of ['prediction', 'truth']) {
    const flow = arrays[`${name}_flow`];
    put(`${name} flow`,
      flow?.shape[0] ? flowArrows(flow, FLOW_COLORS[name]) : null);
  }
  put('boxes', boxLines(arrays.boxes, arrays.box_colors));
  put('points', lidarPoints(arrays.points));
  put('cameras', frusta(arrays.frusta, pictures.photo));
}

/** Which parts a pane shows; every pane is a drawing of its own. */
function selectParts(pane) {
  for (const [name, object] of shown3d) {
    if (NAMES.includes(name)) object.visible = name === pane;
    else if (name.endsWith(' flow')) {
      const own = !['prediction', 'truth'].includes(pane)
        || name.startsWith(pane);
      object.visible = own && state.layers.has('flow');
    } else object.visible = state.layers.has(name);
  }
}

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; drawNow(); });
}

function drawNow() {
  const { clientWidth: width, clientHeight: height } = $('canvas');
  if (!width || !height) return;
  renderer.setSize(width, height, false);
  renderer.setScissorTest(true);
  const panes = NAMES.filter((name) => state.volumes.has(name));
  if (!panes.length) panes.push('');
  camera.aspect = width / panes.length / height;
  camera.updateProjectionMatrix();
  panes.forEach((pane, n) => {
    const left = Math.round(n * width / panes.length);
    const right = Math.round((n + 1) * width / panes.length);
    renderer.setViewport(left, 0, right - left, height);
    renderer.setScissor(left, 0, right - left, height);
    selectParts(pane);
    renderer.render(world, camera);
  });
  viewer.draws += 1;
}
