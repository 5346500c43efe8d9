/* Texts as they are painted: what lies over another, beyond its drawing, its box or the page. */
() => {
  const found = [], boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const scrolls = (element) => {
    for (let one = element; one && one !== document.body; one = one.parentElement) {
      if (["auto", "scroll"].includes(getComputedStyle(one).overflowX)) return one;
    }
    return null;
  };
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || element.closest("title, desc, script, style, select, .hidden-text, .skip")) continue;
    if (getComputedStyle(element).clipPath !== "none") continue;  /* for screen readers alone */
    if (!element.checkVisibility({ checkVisibilityCSS: true, contentVisibilityAuto: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      const text = node.data.trim().slice(0, 60);
      const inner = scrolls(element);
      if (!inner && (box.left < -0.5 || box.right > innerWidth + 0.5)) {
        found.push(`beyond the page: ${text}`);
      }
      const svg = element.closest("svg");
      if (svg) {
        const frame = svg.getBoundingClientRect();
        if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
            box.top < frame.top - 3 || box.bottom > frame.bottom + 3) {
          found.push(`beyond its drawing: ${text}`);
        }
      }
      /* Line boxes are taller than letters: only the middle of each counts. */
      const slack = box.height * 0.28;
      boxes.push({ text, left: box.left + 1, right: box.right - 1,
                   top: box.top + slack, bottom: box.bottom - slack,
                   sticky: !!element.closest("th[scope=row]"), inner });
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  for (let i = 0; i < boxes.length; i++) {
    for (let j = i + 1; j < boxes.length && boxes[j].top < boxes[i].bottom; j++) {
      const [a, b] = [boxes[i], boxes[j]];
      /* A sticky first column hides what is scrolled below it, on purpose. */
      if (a.inner && a.inner === b.inner && a.sticky !== b.sticky) continue;
      if (a.left < b.right && b.left < a.right) found.push(`over each other: ${a.text} / ${b.text}`);
    }
  }
  for (const element of document.querySelectorAll("button, label, figcaption, h1, h2, h3, h4, dd, p, li")) {
    if (element.checkVisibility() && element.scrollWidth > element.clientWidth + 1 &&
        element.clientWidth > 0 && getComputedStyle(element).display !== "inline" &&
        !element.closest(".hidden-text, .skip")) {
      found.push(`clipped: ${element.textContent.trim().slice(0, 60)}`);
    }
  }
  return found;
}
