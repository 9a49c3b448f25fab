"""A removed model on disk: its tensors as safetensors, and its sizes as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

from torch import Tensor, nn

from workbench.removal.modules import resized
from workbench.states import contents

WEIGHTS, SPEC = "weights.safetensors", "spec.json"


def save_removed(model: nn.Module, folder: str | Path) -> None:
    """Write a removed model, trained further or not: `weights.safetensors` and `spec.json`, no pickle.

    The spec has the shape of every tensor, and the numbers of the model's own code that changed. `load_removed` reads
    both with any model of the original architecture.

    >>> import tempfile
    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> model, folder = wb.make("lenet-300-100", task), tempfile.mkdtemp()
    >>> scores = wb.score(model, None, "magnitude", granularity="channel", exclude=["fc3"])
    >>> masks = wb.keep_top(scores, 0.5, allocation="layer", granularity="channel", model=model)
    >>> small = wb.remove(model, masks)
    >>> wb.save_removed(small, folder)
    >>> wb.load_removed(folder, wb.make("lenet-300-100", task, seed=1)).fc2
    Linear(in_features=150, out_features=50, bias=True)
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, value in contents(model).items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"a removed model is tensors alone; {name!r} keeps {type(value).__name__}. Save it yourself"
            )
        tensors[name] = value.detach().cpu().contiguous().clone()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    spec = {"form": 1, "shapes": shapes, "numbers": getattr(model, "removal", {})}
    save_file(tensors, folder / f".{WEIGHTS}.part")
    (folder / f".{SPEC}.part").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
    for name in (WEIGHTS, SPEC):
        os.replace(folder / f".{name}.part", folder / name)


def load_removed(folder: str | Path, model: nn.Module) -> nn.Module:
    """The model that `save_removed` wrote; `model` is one of the original architecture, and is untouched.

    Raises ValueError where the files do not fit each other or the model, with the first tensor that does not.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        shapes, numbers = {name: tuple(shape) for name, shape in spec["shapes"].items()}, dict(spec["numbers"])
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        told = f"a removed model is a folder with {WEIGHTS} and {SPEC} that save_removed wrote; {folder} is not"
        raise ValueError(f"{told}: {error!r}. Save the model again") from error
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(found.keys() | shapes.keys()):
        if found.get(name) != shapes.get(name):
            told = f"{name!r} is {found.get(name, 'missing')} there, {shapes.get(name, 'missing')} in the spec"
            raise ValueError(f"{SPEC} has the shapes of {WEIGHTS}; {told}. Take both files from one save_removed")
    here = {name: value for name, value in contents(model).items() if isinstance(value, Tensor)}
    for name in sorted(here.keys() | found.keys()):
        now, whole = found.get(name), tuple(here[name].shape) if name in here else None
        if (
            now is None
            or whole is None
            or len(now) != len(whole)
            or any(a > b for a, b in zip(now, whole, strict=True))
        ):
            told = f"{name!r} is {whole or 'missing'} in the model, {now or 'missing'} in {WEIGHTS}"
            raise ValueError(
                f"the model is of the architecture that units were removed from, before removal; {told}. Make it with "
                "the same code and arguments"
            )
    modules = dict(model.named_modules())
    for name, values in numbers.items():
        for attribute, value in values.items():
            if type(value) is not int or type(vars(modules.get(name, nn.Module())).get(attribute)) is not int:
                told = f"{name!r} has no number {attribute!r} that could be {value!r}"
                raise ValueError(f"the spec changes numbers of the model's modules; {told}. Make the same architecture")
    small = resized(model, {name: value.to(here[name].device) for name, value in tensors.items()}, numbers)
    small.removal = numbers  # type: ignore[assignment]
    return small
