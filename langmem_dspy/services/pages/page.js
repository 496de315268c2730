// What both pages build with. Text goes in as text, never as HTML, so that nothing stored here can run.

export const at = (id) => document.getElementById(id);

export function element(name, options = {}, ...children) {
  const made = Object.assign(document.createElement(name), options);
  made.append(...children);
  return made;
}

export const pretty = (value) => JSON.stringify(value, null, 2);
