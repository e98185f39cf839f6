// Gaussian splats and a mesh in WebGL2, orbited with mouse, touch or keys. Needs no network and no other file.
"use strict";
(() => {
  const FOV = 40 * Math.PI / 180;
  const element = id => document.getElementById(id);
  const canvas = element("canvas"), data = JSON.parse(element("data").textContent);
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: true, preserveDrawingBuffer: true });

  function fail(text) {
    element("message").textContent = text;
    element("message").hidden = false;
  }
  function hush() {
    element("message").hidden = true;
  }
  if (!gl) return fail("This browser has no WebGL2, which the viewer needs. Open the .glb or .ply file in another viewer.");

  // ---- data: base64 of little-endian arrays, quantised between `low` and `high`
  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }
  function quantised(packed, width) {
    const values = new Uint16Array(bytes(packed.data).buffer), out = new Float32Array(values.length);
    for (let i = 0; i < values.length; i++) {
      const axis = i % width;
      out[i] = packed.low[axis] + values[i] / 65535 * (packed.high[axis] - packed.low[axis]);
    }
    return out;
  }

  function program(vertex, fragment) {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, "#version 300 es\nprecision highp float; precision highp int;\n" + source);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) console.error(gl.getShaderInfoLog(shader));
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) console.error(gl.getProgramInfoLog(made));
    return made;
  }
  function uniforms(made, names) {
    return Object.fromEntries(names.map(name => [name, gl.getUniformLocation(made, name)]));
  }
  function attribute(location, array, size, type, normalized) {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, type, normalized, 0, 0);
    return buffer;
  }

  // ---- splats: three texels each hold mean, opacity, 3D covariance and colour; instances come in drawing order
  const TEXTURE_WIDTH = 3 * 512;
  const SPLAT_VERTEX = `
    uniform highp sampler2D splats;
    uniform mat4 view;
    uniform vec2 viewport;
    uniform float focal, blur;
    layout(location = 0) in vec2 corner;
    layout(location = 1) in uint index;
    out vec2 offset;
    out vec4 color;
    void main() {
      gl_Position = vec4(0, 0, 2, 1);
      ivec2 texel = ivec2(int(index % 512u) * 3, int(index / 512u));
      vec4 a = texelFetch(splats, texel, 0), b = texelFetch(splats, texel + ivec2(1, 0), 0),
           c = texelFetch(splats, texel + ivec2(2, 0), 0);
      vec3 p = (view * vec4(a.xyz, 1)).xyz;
      float z = -p.z;
      if (z < 0.05) return;
      // EWA splatting (Zwicker et al. 2001): sigma' = J W sigma W^T J^T in pixels, J of the perspective division.
      mat3 sigma = mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y);
      mat3 w = mat3(view);
      vec3 row0 = transpose(w) * vec3(focal / z, 0, focal * p.x / (z * z));
      vec3 row1 = transpose(w) * vec3(0, focal / z, focal * p.y / (z * z));
      float scaled = blur * focal / z, filtered = max(0.3, scaled * scaled);
      float xx = dot(row0, sigma * row0) + filtered, yy = dot(row1, sigma * row1) + filtered, xy = dot(row0, sigma * row1);
      float middle = 0.5 * (xx + yy), radius = length(vec2(0.5 * (xx - yy), xy));
      float major = middle + radius, minor = max(middle - radius, 0.05);
      vec2 axis = abs(xy) > 1e-6 ? normalize(vec2(xy, major - xx)) : (xx >= yy ? vec2(1, 0) : vec2(0, 1));
      if (a.w < 1.0 / 255.0) return;
      float reach = sqrt(2.0 * log(255.0 * a.w));  // beyond it the splat adds less than 1/255
      offset = corner * reach;
      vec2 pixels = offset.x * sqrt(major) * axis + offset.y * sqrt(minor) * vec2(-axis.y, axis.x);
      vec2 centre = p.xy / z * focal;
      gl_Position = vec4((centre + pixels) * 2.0 / viewport, 0, 1);
      int rgb = int(c.z);
      color = vec4(vec3(rgb >> 16, (rgb >> 8) & 255, rgb & 255) / 255.0, a.w);
    }`;
  const SPLAT_FRAGMENT = `
    in vec2 offset;
    in vec4 color;
    out vec4 pixel;
    void main() {
      float alpha = min(0.999, color.a * exp(-0.5 * dot(offset, offset)));
      if (alpha < 1.0 / 255.0) discard;
      pixel = vec4(color.rgb * alpha, alpha);
    }`;

  function makeSplats(packed) {
    const count = packed.count, means = quantised(packed.means, 3), logScales = quantised(packed.log_scales, 3);
    const quats = new Int8Array(bytes(packed.quats).buffer), colors = bytes(packed.rgba);
    const rows = Math.max(1, Math.ceil(count / 512)), texels = new Float32Array(rows * TEXTURE_WIDTH * 4);
    for (let i = 0; i < count; i++) {
      let w = quats[4 * i], x = quats[4 * i + 1], y = quats[4 * i + 2], z = quats[4 * i + 3];
      const length = Math.hypot(w, x, y, z) || 1;
      w /= length; x /= length; y /= length; z /= length;
      const rotation = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
      const variance = [0, 1, 2].map(k => Math.exp(2 * logScales[3 * i + k]));
      const sigma = (r, c) => rotation[3 * r] * rotation[3 * c] * variance[0]
        + rotation[3 * r + 1] * rotation[3 * c + 1] * variance[1] + rotation[3 * r + 2] * rotation[3 * c + 2] * variance[2];
      texels.set([means[3 * i], means[3 * i + 1], means[3 * i + 2], colors[4 * i + 3] / 255,
        sigma(0, 0), sigma(0, 1), sigma(0, 2), sigma(1, 1), sigma(1, 2), sigma(2, 2),
        colors[4 * i] * 65536 + colors[4 * i + 1] * 256 + colors[4 * i + 2], 0], 12 * i);
    }
    const made = program(SPLAT_VERTEX, SPLAT_FRAGMENT), at = uniforms(made, ["view", "viewport", "focal", "blur"]);
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    attribute(0, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), 2, gl.FLOAT, false);
    const order = new Uint32Array(count), orderBuffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, orderBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, Math.max(order.byteLength, 4), gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(1, 1);
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, TEXTURE_WIDTH, rows, 0, gl.RGBA, gl.FLOAT, texels);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);

    const BINS = 65536, bins = new Uint32Array(BINS + 1), keys = new Uint16Array(count), depths = new Float32Array(count);
    function sort(view) {  // a counting sort by depth along the view, farthest first
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < count; i++) {
        const depth = view[2] * means[3 * i] + view[6] * means[3 * i + 1] + view[10] * means[3 * i + 2];
        depths[i] = depth;
        if (depth < low) low = depth;
        if (depth > high) high = depth;
      }
      const scale = (BINS - 1) / Math.max(high - low, 1e-9);
      bins.fill(0);
      for (let i = 0; i < count; i++) {
        keys[i] = (depths[i] - low) * scale;  // truncated by the array: count what it holds, not what was assigned
        bins[keys[i] + 1]++;
      }
      for (let k = 0; k < BINS; k++) bins[k + 1] += bins[k];
      for (let i = 0; i < count; i++) order[bins[keys[i]]++] = i;
    }
    return (view, width, height, focal) => {
      sort(view);
      gl.useProgram(made);
      gl.bindVertexArray(array);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.bindBuffer(gl.ARRAY_BUFFER, orderBuffer);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, order);
      gl.uniformMatrix4fv(at.view, false, view);
      gl.uniform2f(at.viewport, width, height);
      gl.uniform1f(at.focal, focal);
      gl.uniform1f(at.blur, packed.blur);
      gl.disable(gl.DEPTH_TEST);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    };
  }

  // ---- mesh: unlit vertex colours under the fixed lights of the renders
  const MESH_VERTEX = `
    uniform mat4 view;
    uniform vec2 viewport;
    uniform float focal;
    layout(location = 0) in vec3 position;
    layout(location = 1) in vec3 vertexColor;
    layout(location = 2) in vec3 vertexNormal;
    out vec3 color, normal;
    void main() {
      vec3 p = (view * vec4(position, 1)).xyz;
      const float near = 0.05, far = 100.0;
      gl_Position = vec4(p.xy * focal * 2.0 / viewport, -p.z * (far + near) / (far - near) - 2.0 * far * near / (far - near), -p.z);
      color = vertexColor;
      normal = vertexNormal;
    }`;
  const MESH_FRAGMENT = `
    uniform float ambient;
    uniform vec4 lights[LIGHTS];  // direction and strength
    in vec3 color, normal;
    out vec4 pixel;
    void main() {
      vec3 n = normalize(gl_FrontFacing ? normal : -normal);
      float light = ambient;
      for (int i = 0; i < LIGHTS; i++) light += lights[i].w * max(dot(n, lights[i].xyz), 0.0);
      pixel = vec4(color * light, 1);
    }`;

  function smoothNormals(positions, indices) {  // the mean of the triangles around each vertex, by area
    const normals = new Float32Array(positions.length);
    for (let f = 0; f < indices.length; f += 3) {
      const [a, b, c] = [3 * indices[f], 3 * indices[f + 1], 3 * indices[f + 2]];
      const [ux, uy, uz] = [0, 1, 2].map(k => positions[b + k] - positions[a + k]);
      const [vx, vy, vz] = [0, 1, 2].map(k => positions[c + k] - positions[a + k]);
      const normal = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      for (const at of [a, b, c]) for (let k = 0; k < 3; k++) normals[at + k] += normal[k];
    }
    return normals;
  }

  function makeMesh(packed) {
    const lights = packed.lights.length / 4, made = program(MESH_VERTEX, MESH_FRAGMENT.replaceAll("LIGHTS", lights));
    const at = uniforms(made, ["view", "viewport", "focal", "ambient", "lights"]);
    const raw = bytes(packed.faces).buffer, wide = packed.wide, indices = wide ? new Uint32Array(raw) : new Uint16Array(raw);
    const positions = quantised(packed.vertices, 3);
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    attribute(0, positions, 3, gl.FLOAT, false);
    attribute(1, bytes(packed.rgb), 3, gl.UNSIGNED_BYTE, true);
    attribute(2, smoothNormals(positions, indices), 3, gl.FLOAT, false);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    return (view, width, height, focal) => {
      gl.useProgram(made);
      gl.bindVertexArray(array);
      gl.uniformMatrix4fv(at.view, false, view);
      gl.uniform2f(at.viewport, width, height);
      gl.uniform1f(at.focal, focal);
      gl.uniform1f(at.ambient, packed.ambient);
      gl.uniform4fv(at.lights, packed.lights);
      gl.disable(gl.BLEND);
      gl.enable(gl.DEPTH_TEST);
      gl.drawElements(gl.TRIANGLES, indices.length, wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, 0);
    };
  }

  // ---- camera: an orbit around the origin, +Y up; azimuth 0 looks at the front (+Z side)
  const HOME = { azimuth: 0.5, elevation: 0.3, distance: data.distance };
  const orbit = { ...HOME };
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)"), dark = window.matchMedia("(prefers-color-scheme: dark)");
  let spinning = !calm.matches, lost = false, drawSplats = null, drawMesh = null, background = [0, 0, 0];
  let meshShown = false, dirty = true, last = 0;

  function viewMatrix() {
    const ca = Math.cos(orbit.azimuth), sa = Math.sin(orbit.azimuth), ce = Math.cos(orbit.elevation), se = Math.sin(orbit.elevation);
    return new Float32Array([ca, -sa * se, sa * ce, 0, 0, ce, se, 0, -sa, -ca * se, ca * ce, 0, 0, 0, -orbit.distance, 1]);
  }
  function setSpin(on) {
    spinning = on;
    element("spin").setAttribute("aria-pressed", on);
    element("spin").textContent = on ? "Stop" : "Turn";
  }
  function turn(dx, dy) {
    setSpin(false);
    orbit.azimuth -= dx;
    orbit.elevation = Math.min(1.55, Math.max(-1.55, orbit.elevation + dy));
    dirty = true;
  }
  function zoom(factor) {
    setSpin(false);
    orbit.distance = Math.min(data.distance * 4, Math.max(data.distance * 0.3, orbit.distance * factor));
    dirty = true;
  }
  function toggle() {
    if (!drawMesh) return;
    meshShown = !meshShown;
    element("toggle").textContent = meshShown ? "Show splats" : "Show mesh";
    dirty = true;
  }
  function reset() {
    Object.assign(orbit, HOME);
    dirty = true;
  }

  const pointers = new Map();
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    setSpin(false);
  });
  canvas.addEventListener("pointermove", event => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const spread = () => { const [p, q] = [...pointers.values()]; return Math.hypot(p[0] - q[0], p[1] - q[1]); };
    const gap = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pointers.size === 1) turn((event.clientX - before[0]) * 0.008, (event.clientY - before[1]) * 0.008);
    else if (pointers.size === 2) zoom(gap / Math.max(spread(), 1));
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, event => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY * (event.deltaMode === 1 ? 20 : 1))) * 0.003));
  }, { passive: false });
  window.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, -0.1), ArrowDown: () => turn(0, 0.1),
      "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1), m: toggle, r: reset,
    };
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  element("toggle").addEventListener("click", toggle);
  element("spin").addEventListener("click", () => setSpin(!spinning));
  element("reset").addEventListener("click", reset);
  window.addEventListener("resize", () => { dirty = true; });
  calm.addEventListener("change", () => { if (calm.matches) setSpin(false); });

  function paint() {  // the canvas goes with the page, by day and by night
    background = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).slice(0, 3).map(value => value / 255);
    dirty = true;
  }
  dark.addEventListener("change", paint);

  function build() {  // everything that lies in the memory of the graphics card
    drawSplats = makeSplats(data.splats);
    drawMesh = data.mesh ? makeMesh(data.mesh) : null;
    dirty = true;
  }
  canvas.addEventListener("webglcontextlost", event => {
    event.preventDefault();  // or else it would never be restored
    lost = true;
    fail("The graphics card is busy elsewhere: the picture comes back by itself, or when the page is loaded again.");
  });
  canvas.addEventListener("webglcontextrestored", () => {
    build();
    lost = false;
    hush();
  });

  function frame(time) {
    if (spinning) orbit.azimuth += Math.min(time - last, 100) * 0.0005;
    last = time;
    if (!lost && (spinning || dirty)) {
      dirty = false;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      gl.viewport(0, 0, width, height);
      gl.depthMask(true);
      gl.clearColor(...background, 1);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      const focal = 0.5 * Math.min(width, height) / Math.tan(FOV / 2);
      (meshShown ? drawMesh : drawSplats)(viewMatrix(), width, height, focal);
    }
    requestAnimationFrame(frame);
  }

  paint();
  build();
  element("toggle").hidden = !drawMesh;
  const counts = [`${data.splats.count.toLocaleString("en")} splats`];
  if (drawMesh) counts.push(`${data.mesh.count.toLocaleString("en")} triangles`);
  element("counts").textContent = counts.join(" · ");
  setSpin(spinning);
  if (location.hash === "#mesh") toggle();
  requestAnimationFrame(frame);
})();
