// What world.js needs of three.js (MIT). Another version, or more of it:
//
//   npm install three@0.187.0 esbuild@0.28.2
//   npx esbuild three_exports.js --bundle --minify --format=iife \
//     --global-name=THREE --legal-comments=none --outfile=three.js
//
// and put the licence of the package back at its head.
export {
  BoxGeometry,
  BufferAttribute,
  BufferGeometry,
  Color,
  ColorManagement,
  ConeGeometry,
  CylinderGeometry,
  DataTexture,
  DoubleSide,
  Fog,
  Group,
  InstancedBufferAttribute,
  InstancedMesh,
  LinearFilter,
  LinearMipmapLinearFilter,
  LinearSRGBColorSpace,
  LineBasicMaterial,
  LineSegments,
  Matrix4,
  Mesh,
  MeshBasicMaterial,
  PerspectiveCamera,
  Points,
  PointsMaterial,
  Quaternion,
  Scene,
  Texture,
  Vector3,
  WebGLRenderer,
} from 'three';
export { OrbitControls } from 'three/addons/controls/OrbitControls.js';
