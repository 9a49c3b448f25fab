// A control of its own widget: a slider over stops, which says each stop in words.
import { quiet, wordSlider } from "./kit.js";

export default {
  render({ model, el }) {
    const slider = wordSlider((index) => { model.set("index", index); model.save_changes(); });
    const paint = () => slider.update(model.get("description"), model.get("words"), model.get("index"), model.get("disabled"));
    const kinds = ["description", "words", "index", "disabled"].map((trait) => `change:${trait}`), ending = new AbortController();
    el.classList.add("wb-root", "wb-control");
    el.append(slider.node);
    quiet(el, ending.signal);
    for (const kind of kinds) model.on(kind, paint);
    paint();
    return () => { ending.abort(); for (const kind of kinds) model.off(kind, paint); };
  },
};
