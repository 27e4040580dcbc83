// The trace as SVG: wheel zooms in time, drag moves, double click shows all again.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const svg = document.getElementById("trace");
  if (!data.time) return;
  const rows = Math.min(data.events.length, 4);  // of the words of events, above the trace
  const edge = { left: 62, right: 12, top: 12 + 12 * Math.max(rows, 1), bottom: 40 };
  // Long pauses are drawn short: all places are of the drawn axis, only labels tell true times.
  const [known, drawn] = data.knots;
  const mapped = (at, from, to) => {
    if (at === null) return null;
    let k = from.findIndex(value => value >= at);
    k = k < 0 ? from.length - 1 : Math.max(k, 1);
    const length = from[k] - from[k - 1];
    return length ? to[k - 1] + (at - from[k - 1]) / length * (to[k] - to[k - 1]) : to[k];
  };
  const place = at => mapped(at, known, drawn);
  const times = data.time.map(place);
  const events = data.events.map(([at, words]) => [place(at), words]);
  const beats = data.beats.map(([t50, peak, ...rest]) => [place(t50), place(peak), ...rest]);
  const first = times[0], last = times[times.length - 1];
  let view = [first, last];

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    svg.appendChild(made);
    return made;
  };
  const told = (made, words) => {
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = words;
    made.appendChild(title);
  };
  const roundUp = raw => {
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].map(n => n * power).find(n => n >= raw);
  };
  const multiples = (low, high, step) => {
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(+(k * step).toPrecision(12));
    return found;
  };
  const ticks = (low, high, about) => multiples(low, high, roundUp((high - low) / about));
  // true times to be labelled: round ones, and where a part begins; of those too near, the first
  const moments = (X, about) => {
    const step = roundUp((view[1] - view[0]) / about), starts = [], others = [];
    for (let k = 0; k < known.length; k += 2) {
      const low = Math.max(view[0], drawn[k]), high = Math.min(view[1], drawn[k + 1]);
      if (low > high) continue;
      if (known.length > 2 && low === drawn[k]) starts.push(known[k]);
      others.push(...multiples(mapped(low, drawn, known), mapped(high, drawn, known), step));
    }
    const kept = [];
    for (const moment of [...starts, ...others]) {
      const room = 10 + 7 * String(moment).length, x = X(place(moment));
      if (kept.every(other => Math.abs(X(place(other)) - x) >= room)) kept.push(moment);
    }
    return kept;
  };
  // index of the first frame that is not drawn before `at`
  const after = at => {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < at) low = middle + 1; else high = middle;
    }
    return low;
  };

  function draw() {
    const width = svg.clientWidth || 960, height = svg.clientHeight || 320;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    const from = Math.max(0, after(view[0]) - 1), to = Math.min(times.length, after(view[1]) + 2);
    let low = Infinity, high = -Infinity;
    for (let k = from; k < to; k++) {
      if (data.x[k] === null) continue;
      low = Math.min(low, data.x[k]);
      high = Math.max(high, data.x[k]);
    }
    const spare = (high - low || 1) * 0.06;
    low -= spare;
    high += spare;
    const longest = Math.max(...ticks(low, high, 6).map(v => String(v).length));
    edge.left = Math.max(62, 28 + 6.5 * longest);
    const right = width - edge.right, bottom = height - edge.bottom;
    const X = t => edge.left + (t - view[0]) / (view[1] - view[0]) * (right - edge.left);
    const Y = v => bottom - (v - low) / (high - low) * (bottom - edge.top);
    const inside = t => t !== null && t >= view[0] && t <= view[1];

    for (const [start, end, words] of data.pauses.filter(([start, end]) => end > view[0] && start < view[1])) {
      const [x, stop] = [Math.max(X(start), edge.left), Math.min(X(end), right)];
      const band = element("rect", { x, y: edge.top, width: stop - x, height: bottom - edge.top, fill: "#ececec" });
      told(band, `not filmed: ${words}`);
      if (stop - x < 14) continue;
      const [middle, centre] = [(x + stop) / 2 + 4, (edge.top + bottom) / 2];
      element("text", { x: middle, y: centre, "text-anchor": "middle", fill: "#5c5c5c",
        transform: `rotate(-90 ${middle} ${centre})` }, `not filmed: ${words}`);
    }
    for (const t of moments(X, width / 90)) {
      const x = X(place(t));
      element("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, stroke: "#1a1a1a" });
      element("text", { x, y: bottom + 16, "text-anchor": "middle" }, t);
    }
    for (const v of ticks(low, high, 6)) {
      element("line", { x1: edge.left, x2: right, y1: Y(v), y2: Y(v), stroke: "#eeeeee" });
      element("text", { x: edge.left - 6, y: Y(v) + 4, "text-anchor": "end" }, v);
    }
    element("path", { d: `M${edge.left} ${edge.top}V${bottom}H${right}`, fill: "none", stroke: "#1a1a1a" });
    element("text", { x: (edge.left + right) / 2, y: height - 6, "text-anchor": "middle" }, data.xLabel);
    element("text", { x: 12, y: (edge.top + bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 12 ${(edge.top + bottom) / 2})` }, data.yLabel);

    const clip = element("clipPath", { id: "inside" });
    clip.appendChild(element("rect", { x: edge.left, y: edge.top, width: right - edge.left, height: bottom - edge.top }));
    const line = (values, attributes) => {
      const points = [];
      let pen = "M";  // a null lifts it: nothing was seen there
      for (let k = from; k < to; k++) {
        if (values[k] !== null) points.push(pen + X(times[k]).toFixed(1) + "," + Y(values[k]).toFixed(1));
        pen = values[k] === null ? "M" : "L";
      }
      element("path", { d: points.join(""), fill: "none", "clip-path": "url(#inside)", ...attributes });
    };
    if (data.rest.length) line(data.rest, { stroke: "#8a8a8a", "stroke-dasharray": "5 4" });
    line(data.x, { stroke: "#1a1a1a", "stroke-width": 1.1 });
    events.filter(event => inside(event[0])).forEach(([at, words], number) => {
      const left = X(at) < (edge.left + right) / 2;
      element("line", { x1: X(at), x2: X(at), y1: edge.top, y2: bottom, stroke: "#d55e00", "stroke-dasharray": "2 3" });
      element("text", { x: X(at) + (left ? 3 : -3), y: edge.top - 4 - 12 * (number % rows), fill: "#9b2c00",
        "text-anchor": left ? "start" : "end" }, words);
    });
    const radius = beats.filter(beat => inside(beat[1])).length > 150 ? 1.5 : 4;
    beats.forEach(([t50, peak, level, accepted, reason], number) => {
      if (!inside(peak)) return;
      const [x, y] = [X(peak), Y(level)];
      const mark = accepted
        ? element("circle", { cx: x, cy: y, r: radius, fill: "#0072b2" })
        : element("path", { d: `M${x - 4} ${y - 4}l8 8m0-8l-8 8`, stroke: "#d55e00", "stroke-width": 2 });
      told(mark, `beat ${number}: ${accepted ? "accepted" : "not accepted"}${reason ? ", " + reason : ""}`);
      if (accepted && inside(t50)) {
        element("line", { x1: X(t50), x2: X(t50), y1: bottom, y2: bottom - 8, stroke: "#0072b2", "stroke-width": 2 });
      }
    });
  }

  function show(low, high) {
    const shortest = Math.max((last - first) / 5000, 1e-6);
    const length = Math.min(Math.max(high - low, shortest), last - first);
    const start = Math.min(Math.max(low, first), last - length);
    view = [start, start + length];
    draw();
  }
  const share = event => {
    const box = svg.getBoundingClientRect();
    return (event.clientX - box.left - edge.left) / (box.width - edge.left - edge.right);
  };
  svg.addEventListener("wheel", event => {
    event.preventDefault();
    const factor = event.deltaY > 0 ? 1.25 : 0.8, length = view[1] - view[0];
    const at = view[0] + share(event) * length;
    show(at - (at - view[0]) * factor, at + (view[1] - at) * factor);
  }, { passive: false });
  let held = null;
  svg.addEventListener("pointerdown", event => {
    held = { at: share(event), view: [...view] };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", event => {
    if (!held) return;
    const moved = (held.at - share(event)) * (held.view[1] - held.view[0]);
    show(held.view[0] + moved, held.view[1] + moved);
  });
  svg.addEventListener("pointerup", () => { held = null; });
  svg.addEventListener("dblclick", () => show(first, last));
  const zoom = factor => {
    const middle = (view[0] + view[1]) / 2, half = (view[1] - view[0]) / 2 * factor;
    show(middle - half, middle + half);
  };
  document.getElementById("in").onclick = () => zoom(0.5);
  document.getElementById("out").onclick = () => zoom(2);
  document.getElementById("all").onclick = () => show(first, last);
  addEventListener("resize", draw);
  addEventListener("beforeprint", draw);
  draw();
})();
