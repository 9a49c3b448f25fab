// A control of its own widget: a slider over stops, or a raster of them, which says each stop in words.
import { quiet, wordSlider } from "./kit.js";
import { raster } from "./raster.js";

export default {
  render({ model, el }) {
    const traits = ["description", "words", "index", "disabled", "raster"], ending = new AbortController();
    const flat = Boolean(model.get("raster").columns), control = (flat ? raster : wordSlider)((index) => { model.set("index", index); model.save_changes(); });
    const paint = () => {
      const [label, words, index, disabled, cells] = traits.map((trait) => model.get(trait));
      if (flat) control.update(label, words, index, cells, () => !disabled);
      else control.update(label, words, index, disabled);
    };
    el.classList.add("wb-root", "wb-control");
    el.append(control.node);
    quiet(el, ending.signal);
    for (const trait of traits) model.on(`change:${trait}`, paint);
    paint();
    return () => { ending.abort(); for (const trait of traits) model.off(`change:${trait}`, paint); };
  },
};
