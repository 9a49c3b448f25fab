(long) => { // What is wrong with the layout of the playground, in words; `long` is the name of the user's own things that may be shortened.
  const root = document.querySelector(".wb-root"), found = [];
  const over = root.querySelector(".wb-panel") ?? root.querySelector(".wb-error:not([hidden])"); // lies over the rest
  const say = (what, text) => found.push(`${what}: ${text}`);
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;

  // texts of the page: each line of each text within every element around it
  const shortened = (own, text) => own.matches(".wb-fixed, .wb-who, .wb-rest, .wb-message, .wb-pinned") && own.closest("[title]")?.title.includes(text);
  const walk = document.createTreeWalker(over ?? root, NodeFilter.SHOW_TEXT), lines = [];
  while (walk.nextNode()) {
    const node = walk.currentNode, own = node.parentElement, text = node.data.trim(), range = document.createRange();
    if (!text || !own.checkVisibility() || own.closest(".wb-hush, option, textarea, .wb-card label")) continue;
    range.selectNodeContents(node);
    if (own.matches(".wb-alarm span") && text.includes(" left: ")) range.setEnd(node, node.data.indexOf(" left: ") + 5); // names of layers follow
    for (const rect of range.getClientRects()) {
      const air = 0.16 * rect.height; // a font's ascent and descent are more than its letters
      const line = { own, text, left: rect.left, right: rect.right, top: rect.top + air, bottom: rect.bottom - air };
      for (let e = own; e !== root.parentElement; e = e.parentElement) {
        const around = e.getBoundingClientRect();
        if (e.matches(".wb-ticks") || getComputedStyle(e).display === "inline" || within(line, around)) continue;
        if (!shortened(own, text)) { say(`cut by .${e.className || e.tagName}`, text); break; }
        line.right = Math.min(line.right, around.right);
        line.gone = line.left > around.right || line.top + line.bottom > 2 * around.bottom;
      }
      if (!line.gone) lines.push(line);
    }
  }
  lines.forEach((a, i) => {
    for (const b of lines.slice(i + 1)) if (a.own !== b.own && meet(a, b)) say("overlap", `${a.text} | ${b.text}`);
  });

  // menus: every entry, as it stands in the closed menu
  const ctx = document.createElement("canvas").getContext("2d");
  for (const menu of (over ?? root).querySelectorAll("select")) {
    const style = getComputedStyle(menu), room = menu.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    ctx.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    for (const { text } of menu.checkVisibility() ? menu.options : []) {
      if (ctx.measureText(text).width > room + 1 && !text.includes(long)) say("cut in a menu", text);
    }
    if (menu.title !== menu.value) say("a menu without its title", menu.value);
  }

  // boxes
  for (const e of [root, ...root.querySelectorAll("*:not(option, textarea)")]) {
    const wide = e.scrollWidth > e.clientWidth + 1, high = e.scrollHeight > e.clientHeight + 1, style = getComputedStyle(e);
    const scrollable = [style.overflowX, style.overflowY].some((value) => value === "auto" || value === "scroll");
    if ((wide || high) && (scrollable || e.matches(".wb-root, .wb-page, .wb-side, .wb-sentence, .wb-card, .wb-numbers, button"))) say("scrolls", e.className);
  }
  if (root.offsetWidth !== root.parentElement.clientWidth) say("does not fill its container", `${root.offsetWidth} of ${root.parentElement.clientWidth} px`);
  if (document.documentElement.scrollWidth > window.innerWidth) say("scrolls sideways", `${document.documentElement.scrollWidth} px`);

  // texts of the pictures
  for (const { texts, clientWidth: right, clientHeight: bottom, className } of over ? [] : root.querySelectorAll("canvas")) {
    if (!texts.length) say("no text", className);
    for (const [i, a] of texts.entries()) {
      if (!within(a, { left: 0, top: 0, right, bottom })) say(`leaves ${className}`, a.text);
      const [start, end] = a.text.split("\u2026"), names = [long, `${long}-5`]; // of a layer's name the end is kept, of others the beginning
      if (end !== undefined && !names.some((name) => (className === "wb-layers" ? start === "" && name.endsWith(end) : end === "" && name.startsWith(start)))) say(`cut in ${className}`, a.text);
      for (const b of texts.slice(i + 1)) if (meet(a, b)) say(`overlap in ${className}`, `${a.text} | ${b.text}`);
    }
  }
  return found;
}
