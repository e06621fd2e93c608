// The value beside the pointer, and what a screen reader is told.

function showTip(x, y, title, lines) {
  const tip = byId("tip");
  tip.replaceChildren(element("b", {}, title), ...lines.map((line) => element("span", {}, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - width - 16 : x + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

function say(text) {
  byId("said").textContent = text;
}
