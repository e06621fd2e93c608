// Elements of the document. Texts come in as text nodes and attributes alone, so that no name of a trial is ever markup.

const byId = (id) => document.getElementById(id);

/** An element; `on...` attributes are listeners, `null` and `false` leave an attribute out. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") made.style.cssText = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A drop-down list; `options` are pairs of value and text. */
function choice(text, options, chosen, change) {
  const select = element("select", { onchange: () => change(select.value) });
  for (const [value, label] of options) select.append(element("option", { value, selected: value === chosen }, label));
  return element("label", {}, text, select);
}

/** A check box. */
function check(text, checked, change) {
  const box = element("input", { type: "checkbox", checked, onchange: () => change(box.checked) });
  return element("label", {}, box, text);
}
