// A model without a kernel: traits that only the page itself changes.
export function withoutKernel(traits) {
  const listeners = {};
  return {
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; (listeners[`change:${name}`] ?? []).forEach((act) => act()); },
    on: (name, act) => { (listeners[name] ??= []).push(act); },
    off: (name, act) => { listeners[name] = (listeners[name] ?? []).filter((other) => other !== act); },
    save_changes() {}, send() {},
  };
}
