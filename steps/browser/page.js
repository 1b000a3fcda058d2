// The part of the browser engine that runs inside the page. It lives in an isolated world: the page's scripts can
// neither see it nor change the functions that it uses. Everything is passed by value; elements are identified by their
// number in the last snapshot.
(() => {
  "use strict";
  if (globalThis.stepwatch) return;

  const OMIT = new Set(["STYLE", "TEMPLATE", "NOSCRIPT"]); // omitted from a snapshot
  const SKIP = new Set([...OMIT, "SCRIPT", "LINK", "SVG", "svg"]); // without text
  const INLINE = new Set(["span", "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd", "label", "mark", "output", "q", "s", "samp",
    "small", "strong", "sub", "sup", "time", "tt", "u", "var", "slot", "button"]); // whose text continues a line unless a style sheet makes them blocks
  const DRAWN = new Set(["svg", "g", "a", "switch", "text", "tspan", "textPath", "foreignObject"]); // of SVG: what may hold text
  const SVG = "http://www.w3.org/2000/svg";
  const PLAIN = new Set(["html", "head", "title", "base", "meta", "link", "script", "option", "optgroup", "area", "map", "input", "textarea", "select", "img", "br",
    "iframe", "frame", "object", "embed", "canvas", "video", "audio"]); // without content that a style sheet generates
  const DROP = /^(?:on.*|style|hidden|popover|checked|selected|srcdoc|nonce|stepwatch-.*)$/; // written again, or not needed
  const LONG = 4096; // characters of an attribute
  const VALUED = new Set(["input", "textarea"]); // whose value is the typed text, not the attribute
  const BOXLESS = new Set(["html", "head", "title", "base", "meta", "option", "optgroup", "area", "map"]); // visible or not with the element they belong to

  let elements = [];
  const names = new WeakMap(); // the names of frames by their elements
  const shades = new WeakMap(); // closed shadow trees, which only the browser knows, by their hosts
  const slots = new WeakMap(); // the slots that show a node, as of the last snapshot

  // shadow returns the shadow tree of an element, or null.
  const shadow = (element) => element.shadowRoot || shades.get(element) || null;

  // around returns the node around another one as it is displayed: slotted content is in its slot.
  const around = (node) => node.assignedSlot || slots.get(node) || node.parentNode || node.host;

  // shade tells the script a closed shadow tree, and returns whether it is new. pierced is what was looked through for
  // them.
  const shade = (tree) => shades.get(tree.host) !== tree && !!shades.set(tree.host, tree);
  let pierced = "";
  const mark = () => version + " " + document.querySelectorAll(":not(:defined)").length;
  const piercing = () => { pierced = mark(); return root(); };

  // generated returns the text that a style sheet shows before or after the content of an element.
  function generated(element, pseudo) {
    const style = getComputedStyle(element, pseudo), content = style.content;
    if (content === "none" || content === "normal" || !content.includes('"') || style.display === "none" || style.visibility !== "visible") return "";
    const drawn = content.replace(/" \/ ".*$/s, '"'); // what follows is read aloud instead
    let text = "";
    for (const [, part] of drawn.matchAll(/"((?:[^"\\]|\\.)*)"/gs)) text += part.replace(/\\(.)/gs, "$1");
    return text.replace(/[\u{E000}-\u{F8FF}\u{F0000}-\u{10FFFD}]/gu, ""); // the characters of icon fonts
  }

  const root = () => document.documentElement;

  // shownFrame is false in a frame that is not displayed: nothing in it is visible, whatever its styles.
  const shownFrame = () => window === window.top || (innerWidth > 0 && innerHeight > 0 && root() && root().getClientRects().length > 0);

  // generating lists, for each style sheet, the selectors of what it gives generated text, or null when it cannot tell.
  const generating = new WeakMap();
  function selectorsOf(sheet) {
    const known = generating.get(sheet);
    let rules;
    try { rules = sheet.cssRules; } catch { return null; } // of another origin
    if (known && known.count === rules.length) return known.selectors;
    let selectors = [];
    const read = (list, nested) => {
      for (const rule of list) {
        if (!selectors) return;
        const inner = rule.cssRules && rule.cssRules.length > 0;
        if (rule.selectorText !== undefined) {
          const text = /::?(before|after|marker)/.test(rule.selectorText) && /["(]/.test(rule.style.content.replaceAll('""', ""));
          if (nested && text) selectors = null;
          else if (text) selectors.push(rule.selectorText.replace(/::?(before|after|marker)/g, ""));
          if (inner) read(rule.cssRules, true);
        } else if (rule.styleSheet) {
          const imported = selectorsOf(rule.styleSheet);
          if (imported === null) selectors = null;
          else selectors.push(...imported);
        } else if (inner) {
          read(rule.cssRules, nested);
        }
      }
    };
    read(rules, false);
    generating.set(sheet, { count: rules.length, selectors });
    return selectors;
  }

  // generators returns the elements of the document to which a style sheet may give generated text, or null for all.
  function generators() {
    const found = new Set();
    for (const sheet of [...document.styleSheets, ...(document.adoptedStyleSheets || [])]) {
      const selectors = selectorsOf(sheet);
      if (selectors === null) return null;
      for (const selector of selectors) {
        try {
          for (const part of selector.split(/,(?![^()[\]]*[)\]])/)) for (const element of document.querySelectorAll(part.trim() || "*")) found.add(element);
        } catch {
          return null; // what is left of a selector is not always one
        }
      }
    }
    return found;
  }

  const FAR = -900; // pixels: what ends so far left of the page is not meant to be seen
  const ROOTS = new Set(["html", "body"]);
  const cuts = (overflow) => overflow === "hidden" || overflow === "clip";

  // unseen tells whether the content of an element is out of sight, though it has a box: all of it, or its own "text". In
  // doubt it is not: what is transparent may still be fading in, or wait until somebody scrolls to it.
  function unseen(element, style) {
    if (element.namespaceURI === SVG) return !DRAWN.has(element.localName);
    if (style.contentVisibility === "hidden") return "all";
    if (style.opacity === "0" && element.getAnimations().length === 0) {
      const box = element.getBoundingClientRect();
      if (box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth) return "all";
    }
    if (style.transform === "matrix(0, 0, 0, 0, 0, 0)" && element.getAnimations().length === 0) return "all";
    if (/(^| )opacity\(0\)/.test(style.filter) && element.getAnimations().length === 0) return "all";
    if (cuts(style.overflowY) && element.clientHeight === 0 && element.offsetHeight === 0 && style.display !== "inline" && element.getAnimations().length === 0 &&
      (style.position !== "static" || ![...element.querySelectorAll("*")].some((inner) => /^(absolute|fixed)$/.test(getComputedStyle(inner).position)))) return "all";
    const placed = style.position === "absolute" || style.position === "fixed";
    if (placed && style.clip !== "auto") {
      const sides = /^rect\((-?[\d.]+)px, (-?[\d.]+)px, (-?[\d.]+)px, (-?[\d.]+)px\)$/.exec(style.clip);
      if (sides && (+sides[1] >= +sides[3] || +sides[4] >= +sides[2])) return "all";
    }
    if (style.clipPath !== "none") {
      const inset = /^inset\(([\d.]+)%(?: ([\d.]+)%)?(?: ([\d.]+)%)?(?: ([\d.]+)%)?\)$/.exec(style.clipPath);
      if (inset) {
        const top = +inset[1], right = +(inset[2] ?? top), bottom = +(inset[3] ?? top), left = +(inset[4] ?? right);
        if (top + bottom >= 100 || left + right >= 100) return "all";
      }
      if (/^circle\(0(px|%)/.test(style.clipPath)) return "all";
    }
    if (placed && parseFloat(style.left) < FAR) {
      const box = element.getBoundingClientRect();
      let around = element.parentElement;
      while (around && !ROOTS.has(around.localName) && getComputedStyle(around).overflow === "visible") around = around.parentElement;
      if (box.width > 0 && box.right + scrollX < FAR && (!around || ROOTS.has(around.localName)) && getComputedStyle(root()).direction === "ltr") return "all";
    }
    if (style.fontSize === "0px") return "text";
    if (parseFloat(style.textIndent) < FAR) {
      const range = document.createRange();
      range.selectNodeContents(element);
      const boxes = [...range.getClientRects()];
      if (boxes.length > 0 && boxes.every((box) => box.right < 0)) return "text";
    }
    return "";
  }

  // hides tells whether a text that contains this word, in lower case, or a frame may be out of sight.
  function hides(word) {
    const known = new Map();
    const dark = (element, own) => {
      if (!known.has(element)) known.set(element, unseen(element, getComputedStyle(element)));
      const how = known.get(element);
      return how && (how !== "text" || own);
    };
    const inside = (start) => {
      for (let node = start; node; node = around(node)) if (node.nodeType === Node.ELEMENT_NODE && dark(node, node === start)) return true;
      return false;
    };
    const walker = document.createTreeWalker(document.body || document, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.data.toLowerCase().includes(word) && node.parentElement && inside(node.parentElement)) return true;
    }
    return frameElements().some(inside);
  }

  // snapshot returns the document as a list of texts: "<a" begins an element, "@name=value" is an attribute of it,
  // "#text" a text and ">" the element's end. Elements are numbered from 0 in the order in which they begin. Hidden
  // elements are marked with the attributes hidden and style, as needed by a reader without style sheets. A shadow tree
  // is inside its host, with the content of its slots in them. A first text "?" means that there may be closed shadow
  // trees that are not known, and an only text "!" or "^" that the document has more nodes, or levels, than the limit:
  // a part of it would make what is missing look absent.
  function snapshot(limit, depth) {
    look();
    elements = [];
    const out = mark() === pierced ? [] : ["?"];
    const generate = generators();
    let nodes = 0, level = 0;
    const numbers = new Map(), placed = new Set(); // the hosts of shadow trees, and the nodes that slots show
    const visit = (node, around, gone, host) => {
      const tag = node.localName;
      if (++level > depth) throw "^";
      if (++nodes > limit) throw "!";
      elements.push(node);
      out.push("<" + tag);
      const attribute = (name, value) => out.push("@" + name + "=" + value);
      for (const { name, value } of node.attributes) {
        if (!DROP.test(name) && !(name === "value" && VALUED.has(tag))) attribute(name, value.slice(0, LONG));
      }
      if (host) attribute("stepwatch-slotted", host);
      let visibility = around;
      if (!gone && !BOXLESS.has(tag) && !node.checkVisibility() && getComputedStyle(node).display !== "contents") {
        gone = true;
        attribute("hidden", "");
      }
      if (!gone) {
        const style = getComputedStyle(node);
        visibility = style.visibility;
        const hides = unseen(node, style);
        if (hides) attribute("stepwatch-unseen", hides === "text" ? "text" : "");
        if ((INLINE.has(tag) || tag.includes("-")) && !/^(inline|contents|none|ruby)/.test(style.display)) attribute("stepwatch-block", "");
        if (visibility !== around) attribute("style", "visibility:" + (visibility === "visible" ? "visible" : "hidden"));
      }
      switch (tag) {
        case "input":
          if (node.type === "checkbox" || node.type === "radio") {
            attribute("value", node.value);
            if (node.checked) attribute("checked", "");
          } else if (node.type !== "password" && node.type !== "file") {
            attribute("value", node.value);
          }
          break;
        case "img":
          if (!node.complete) attribute("stepwatch-broken", "loading");
          else if (node.naturalWidth === 0 && node.currentSrc) attribute("stepwatch-broken", "");
          break;
        case "iframe":
        case "frame":
          attribute("stepwatch-frame", node.clientWidth && node.clientHeight ? names.get(node) || "" : "none");
          break;
        case "option":
          if (node.selected) attribute("selected", "");
          break;
      }
      if (tag === "textarea") {
        out.push("#" + node.value);
      } else if (tag !== "script") {
        if (!gone && !PLAIN.has(tag) && node.namespaceURI !== SVG && (!generate || generate.has(node) || node.getRootNode() !== document)) {
          const marker = tag === "li" ? generated(node, "::marker") : "";
          const before = marker + generated(node, "::before"), after = generated(node, "::after");
          if (before) attribute("stepwatch-before", before);
          if (after) attribute("stepwatch-after", after);
        }
        const show = (child, host) => {
          if (child.nodeType === Node.TEXT_NODE) {
            if (++nodes > limit) throw "!";
            if (child.data) out.push("#" + child.data);
          } else if (child.nodeType === Node.ELEMENT_NODE && !OMIT.has(child.nodeName) && (child.namespaceURI !== SVG || DRAWN.has(child.localName))) {
            visit(child, visibility, gone, host);
          }
        };
        const tree = shadow(node), assigned = tag === "slot" && node.assignedNodes ? node.assignedNodes() : [];
        if (tree) {
          numbers.set(node, numbers.size + 1);
          attribute("stepwatch-host", numbers.size);
          watch(tree);
          for (const child of tree.childNodes) show(child);
          for (const child of node.childNodes) { // what no slot shows
            if (child.nodeType === Node.ELEMENT_NODE && !placed.has(child)) show(child);
          }
        } else if (assigned.length > 0) {
          for (const child of assigned) {
            slots.set(child, node);
            placed.add(child);
            show(child, numbers.get(child.parentNode) || 0);
          }
        } else {
          for (const child of node.childNodes) show(child);
        }
      }
      out.push(">");
      level--;
    };
    try {
      if (root()) visit(root(), "visible", !shownFrame());
    } catch (over) {
      if (over !== "!" && over !== "^") throw over;
      return [over];
    }
    return out;
  }

  // text returns the visible text of the element with this number, or of the whole page for -1, and then also the
  // frames in it. A text of more characters than the limit is not returned, but its length.
  function text(number, limit) {
    look();
    const of = number < 0 ? document.body || root() : elements[number];
    if (!of || !shownFrame()) return { text: "", frames: [] };
    const all = of.innerText ?? of.textContent ?? ""; // without shadow trees; the snapshot has them
    if (all.length > limit) return { text: "", frames: [], length: all.length };
    const shown = number < 0 ? frameElements().filter((element) => element.checkVisibility({ visibilityProperty: true })) : [];
    return { text: all, frames: shown.map((element) => names.get(element) || "") };
  }

  // frameElements returns the elements that may contain frames, also those in shadow trees.
  function frameElements() {
    const found = [];
    everywhere((tree) => found.push(...tree.querySelectorAll("iframe, frame, object, embed")));
    return found;
  }

  const frames = () => frameElements().map((element) => names.get(element) || "");
  const frameAt = (number) => frameElements()[number];
  const named = (element, name) => { names.set(element, name); };

  // eager makes the browser load frames that it would load only after scrolling to them, and also images if asked for. It
  // returns their number.
  const eager = (images) => {
    const lazy = frameElements().filter((element) => element.loading === "lazy");
    if (images) everywhere((tree) => lazy.push(...tree.querySelectorAll("img[loading=lazy i]")));
    for (const element of lazy) element.loading = "eager";
    return lazy.length;
  };

  // Where a sandbox forbids scripts, our timers and observers are also refused, and this is logged as an error of the
  // page. Animation frames still work there.
  const scripted = () => matchMedia("(scripting: enabled)").matches;

  // later calls act after some milliseconds, unless the function that it returns is called first.
  function later(act, milliseconds) {
    if (scripted()) {
      const timer = setTimeout(act, milliseconds);
      return () => clearTimeout(timer);
    }
    const due = performance.now() + milliseconds;
    let next;
    const wait = () => { next = requestAnimationFrame(() => performance.now() < due ? wait() : act()); };
    wait();
    return () => cancelAnimationFrame(next);
  }

  // What happened to forms since the last action began: the events in the order in which they came. A handler of the page
  // may still prevent their default action after they were noted here.
  let events = [];
  const note = (event) => { if (event.isTrusted && events.length < 1000) events.push(event); };

  // rule returns the rule of the page that the content of a control violates.
  const rule = (control) => {
    const state = control.validity, given = (name) => name + "=" + JSON.stringify(control.getAttribute(name) || "");
    if (state.valueMissing) return "required";
    if (state.typeMismatch) return "type=" + control.type;
    if (state.patternMismatch) return given("pattern");
    if (state.tooShort) return given("minlength");
    if (state.tooLong) return given("maxlength");
    if (state.rangeUnderflow || state.rangeOverflow) return control.type === "time" && control.min > control.max ? given("min") + " and " + given("max") : given(state.rangeUnderflow ? "min" : "max");
    if (state.stepMismatch) return control.hasAttribute("step") ? given("step") : "type=" + control.type + ", whose step is 1";
    if (state.badInput) return "type=" + control.type;
    return control.validationMessage;
  };

  // unsent returns the control that kept a form from being sent by the last action, which was on this element: the first
  // one with an invalid event, unless the page prevented the click or the hint and so handles this itself.
  function unsent(number) {
    const element = elements[number];
    const form = element && (element.localName === "form" ? element : element.form);
    if (!form || events.some((event) => event.type === "submit" && event.target === form || event.type === "click" && event.defaultPrevented)) return null;
    if (form !== element && element.type !== "submit" && element.type !== "image") return null;
    if (form.noValidate || form !== element && element.formNoValidate) return null;
    const refused = events.filter((event) => event.type === "invalid" && !event.defaultPrevented && event.target.form === form).map((event) => event.target);
    if (refused.length === 0) return null;
    const at = refused.find((control) => !control.validity.valid);
    return at ? { number: elements.indexOf(at), name: describe(at), rule: rule(at) } : null;
  }

  // version counts the changes of the document; seen is the last version read, and looked is when.
  let version = 0, seen = 0, looked = 0, altered = 0, notice = () => {};

  // still returns for how many milliseconds the document has not changed. A shadow tree that is new to us may just have
  // changed.
  const still = () => {
    everywhere((tree) => { if (watch(tree)) altered = performance.now(); });
    return performance.now() - altered;
  };
  const observer = new MutationObserver(() => { version++; altered = performance.now(); notice(); }), watched = new WeakSet();
  const watch = (tree) => {
    if (watched.has(tree)) return false;
    watched.add(tree);
    for (const kind of ["invalid", "submit", "click"]) tree.addEventListener(kind, note, true);
    observer.observe(tree, { subtree: true, childList: true, attributes: true, characterData: true });
    return true;
  };
  watch(document);
  const look = () => { seen = version; looked = performance.now(); };

  // changed resolves when the document may differ from when it was last read: at once after a change, but at most every
  // 10 ms, or after wait milliseconds, because a style sheet or the value of a field changes without an event.
  function changed(wait) {
    eager();
    return new Promise((resolve) => {
      const done = () => { notice = () => {}; resolve(true); };
      const cancel = later(done, wait);
      notice = () => {
        notice = () => {};
        cancel();
        later(done, Math.max(0, looked + 10 - performance.now()));
      };
      if (version !== seen) notice();
    });
  }

  // flushed resolves when the result of a user's event has been passed to the browser, including a navigation by a
  // form.
  const flushed = () => new Promise((resolve) => {
    later(resolve, 0);
    requestAnimationFrame(() => requestAnimationFrame(resolve));
  });

  // loaded resolves when the page is loaded, with what it knows about its response.
  async function loaded() {
    if (scripted() && document.readyState !== "complete") await new Promise((resolve) => { addEventListener("load", resolve, { once: true }); });
    while (document.readyState !== "complete") await frame();
    return { status: (performance.getEntriesByType("navigation")[0] || {}).responseStatus || 0 };
  }

  const describe = (element) => {
    let name = "<" + element.localName;
    if (element.id) name += " id=" + JSON.stringify(element.id);
    else if (typeof element.className === "string" && element.className) name += " class=" + JSON.stringify(element.className);
    return name + ">";
  };

  const frame = () => new Promise((resolve) => {
    // A page that is not rendered gets no animation frames.
    const cancel = later(resolve, 50);
    requestAnimationFrame(() => { cancel(); resolve(); });
  });

  const deepest = (x, y) => {
    let hit = document.elementFromPoint(x, y);
    while (hit && shadow(hit)) {
      const inner = shadow(hit).elementFromPoint(x, y);
      if (!inner || inner === hit || !shadow(hit).contains(inner)) break; // it is slotted
      hit = inner;
    }
    return hit;
  };

  const contains = (outer, inner) => {
    for (let node = inner; node; node = around(node)) if (node === outer) return true;
    return false;
  };

  // showsText tells whether a text at a point, which is written in host, is displayed in an element by a slot.
  const showsText = (element, host, x, y) => [...host.childNodes].some((node) => {
    if (node.nodeType !== Node.TEXT_NODE || !contains(element, around(node))) return false;
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()].some((box) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom);
  });

  // point scrolls an element into view, waits until it no longer moves and returns the place where a click hits it, in
  // the coordinates of this frame; or the element that covers it; or that the element is gone.
  async function point(number) {
    const element = elements[number];
    if (!element || !element.isConnected) return { gone: true };
    events = [];
    element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    let before = null;
    for (let i = 0; i < 60; i++) {
      const box = element.getBoundingClientRect();
      if (before && box.x === before.x && box.y === before.y && box.width === before.width && box.height === before.height) break;
      before = box;
      await frame();
      if (!element.isConnected) return { gone: true };
    }
    const boxes = [...element.getClientRects()].filter((box) => box.width > 0 && box.height > 0);
    if (boxes.length === 0) return { empty: true };
    let obstacle = null;
    for (const box of boxes) {
      const left = Math.max(box.left, 0), right = Math.min(box.right, innerWidth);
      const top = Math.max(box.top, 0), bottom = Math.min(box.bottom, innerHeight);
      if (right <= left || bottom <= top) continue;
      const x = (left + right) / 2, y = (top + bottom) / 2;
      const hit = deepest(x, y);
      if (hit && (contains(element, hit) || contains(hit, element) && hit.localName === "label" || hit.control === element || shadow(hit) && showsText(element, hit, x, y) || (element.labels && [...element.labels].some((label) => contains(label, hit))))) return { x, y };
      if (hit && !obstacle) obstacle = hit;
    }
    return { obstacle: obstacle ? describe(obstacle) : "" };
  }

  // focus prepares a text field for typing: it selects its content, so that typing replaces it. direct is true when the
  // value has to be set as a whole, since users do not type into such a field.
  function focus(number) {
    const element = elements[number];
    if (!element || !element.isConnected) return { gone: true };
    element.scrollIntoView({ block: "center", behavior: "instant" });
    element.focus();
    if (element.isContentEditable) {
      getSelection().selectAllChildren(element);
      return {};
    }
    const typed = element.localName === "textarea" || ["text", "search", "url", "tel", "email", "password", "number"].includes(element.type);
    if (!typed) return { direct: true };
    element.select();
    return {};
  }

  const value = {
    input: Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set,
    textarea: Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set,
  };

  // set sets the value of a field at once, in a way that the page's scripts notice.
  function set(number, text) {
    const element = elements[number];
    if (!element || !element.isConnected) return { gone: true };
    if (value[element.localName]) value[element.localName].call(element, text);
    else element.textContent = text;
    element.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
    element.dispatchEvent(new Event("change", { bubbles: true }));
    return { value: element.value ?? element.textContent };
  }

  // leave tells the page that typing has ended.
  function leave(number) {
    const element = elements[number];
    if (element && element.isConnected) element.dispatchEvent(new Event("change", { bubbles: true }));
    return { value: element ? element.value ?? element.textContent : "" };
  }

  // select selects an option by its number; a multiple-choice list keeps the others.
  function select(number) {
    const option = elements[number];
    if (!option || !option.isConnected) return { gone: true };
    const list = option.closest("select");
    if (!list) return { gone: true };
    list.focus();
    if (list.multiple) option.selected = true;
    else list.selectedIndex = [...list.options].indexOf(option);
    list.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
    list.dispatchEvent(new Event("change", { bubbles: true }));
    return {};
  }

  function submit(number) {
    const form = elements[number];
    if (!form || !form.isConnected) return { gone: true };
    events = [];
    HTMLFormElement.prototype.requestSubmit.call(form);
    return {};
  }

  const state = (number) => {
    const element = elements[number];
    return element ? { checked: !!element.checked, gone: !element.isConnected } : { gone: true };
  };

  const element = (number) => elements[number];

  const source = () => (document.doctype ? "<!DOCTYPE html>\n" : "") + (root() ? root().outerHTML : "");

  // vitals returns the browser's measurements of this document, in milliseconds since its navigation began, or null for
  // what has not happened. It waits a little for a first paint, because the load event comes before it.
  async function vitals(wait) {
    const kept = (type) => {
      const observer = new PerformanceObserver(() => {});
      observer.observe({ type, buffered: true });
      const entries = observer.takeRecords();
      observer.disconnect();
      return entries;
    };
    let first, largest;
    const painted = () => {
      first = kept("paint").find((entry) => entry.name === "first-contentful-paint");
      largest = kept("largest-contentful-paint").pop();
      return first && largest;
    };
    if (!scripted()) {
      for (const until = performance.now() + wait; !painted() && performance.now() < until;) await frame();
    } else if (!painted() && wait > 0) {
      await new Promise((resolve) => {
        const observers = ["paint", "largest-contentful-paint"].map((type) => {
          const observer = new PerformanceObserver(() => { if (painted()) done(); });
          observer.observe({ type });
          return observer;
        });
        const cancel = later(() => { painted(); done(); }, wait);
        const done = () => {
          cancel();
          for (const observer of observers) observer.disconnect();
          resolve();
        };
      });
    }
    // The shift of a layout is the sum of its largest burst: shifts less than a second apart, within five seconds.
    let shift = 0, burst = 0, begun = 0, last = 0, most = null;
    for (const entry of kept("layout-shift")) {
      if (entry.hadRecentInput) continue;
      if (entry.startTime - last >= 1000 || entry.startTime - begun >= 5000) {
        burst = 0;
        begun = entry.startTime;
      }
      burst += entry.value;
      last = entry.startTime;
      shift = Math.max(shift, burst);
      if (!most || entry.value > most.value) most = entry;
    }
    const moved = most && (most.sources || []).map((source) => source.node).find((node) => node && node.nodeType === Node.ELEMENT_NODE);
    const navigation = performance.getEntriesByType("navigation")[0];
    return {
      ready: (navigation && navigation.domContentLoadedEventStart) || null,
      load: (navigation && navigation.loadEventStart) || null,
      firstPaint: first ? first.startTime : null,
      largestPaint: largest ? largest.startTime : null,
      largest: largest && largest.element ? describe(largest.element) : "",
      shift,
      shifted: moved ? describe(moved) : "",
    };
  }

  // everywhere visits the document and every open shadow tree in it.
  function everywhere(visit) {
    const into = (tree) => {
      visit(tree);
      for (const element of tree.querySelectorAll("*")) if (shadow(element)) into(shadow(element));
    };
    into(document);
  }

  const boxesOf = (target) => [...target.getClientRects()].map((box) => [box.left, box.top, box.width, box.height]);

  // mask returns the boxes, in the window, of everything that a picture must not show: password fields, and text that
  // contains a secret (a regular expression), ignoring white space, also when elements split the secret. frames is the
  // number of frames.
  function mask(secrets) {
    const boxes = [];
    let frames = 0;
    const add = (target) => boxes.push(...boxesOf(target));
    const bare = (text) => text.replace(/\s+/g, "");
    const sought = secrets.map((secret) => new RegExp(secret)).filter((secret) => !secret.test(""));
    const holds = (text) => {
      const rest = bare(text);
      return sought.some((secret) => secret.test(rest));
    };
    everywhere((tree) => {
      for (const element of tree.querySelectorAll("*")) {
        const tag = element.localName;
        if (tag === "iframe" || tag === "frame" || tag === "object" && element.contentWindow) frames++;
        if (tag === "input" || tag === "textarea") {
          const purpose = /(^|\s)(cc-|one-time-code|current-password|new-password)/i.test(element.autocomplete || "");
          if (element.type === "password" || purpose || (sought.length > 0 && holds(element.value || ""))) add(element);
        }
        if (sought.length > 0) {
          for (const attribute of element.attributes) {
            if (!holds(attribute.value)) continue;
            add(element);
            break;
          }
        }
      }
      if (sought.length === 0) return;
      const nodes = [], ends = [];
      let all = "";
      const walker = document.createTreeWalker(tree, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (node.parentNode && SKIP.has(node.parentNode.nodeName)) continue;
        all += bare(node.data);
        nodes.push(node);
        ends.push(all.length);
      }
      for (const secret of sought) {
        for (const found of all.matchAll(new RegExp(secret, "g"))) {
          const at = found.index;
          const end = at + found[0].length;
          for (let i = ends.findIndex((last) => last > at); i >= 0 && i < nodes.length && (i === 0 ? 0 : ends[i - 1]) < end; i++) {
            const list = nodes[i].parentElement && nodes[i].parentElement.closest("select");
            if (list) {
              add(list);
              continue;
            }
            const range = document.createRange();
            range.selectNodeContents(nodes[i]);
            add(range);
          }
        }
      }
    });
    return { boxes, frames };
  }

  // frameBoxes returns the places of all frames in the window.
  function frameBoxes() {
    const boxes = [];
    everywhere((tree) => {
      for (const element of tree.querySelectorAll("iframe, frame, object, embed")) boxes.push(...boxesOf(element));
    });
    return { boxes };
  }

  const pixels = () => devicePixelRatio;

  globalThis.stepwatch = { shade, piercing, still, frames, frameAt, named, eager, loaded, frameBoxes, pixels, snapshot, text, hides, changed, flushed, point, focus, set, leave, select, submit, unsent, state, element, source, mask, vitals };
})();
