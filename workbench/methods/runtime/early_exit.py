"""Early exit: an input leaves after a stage if a first classifier is sure (Teerapittayanon et al. 2016)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.methods.runtime.base import Gated, Seen, chain, macs_of, registered
from workbench.models.running import loss_of
from workbench.types import Batch, check_count


class Leaving(Gated):
    """A first classifier, `exit`, reads the channels' means after some layers; inputs of which it is sure leave."""

    exit: nn.Linear

    def __init__(self, layers: dict[str, nn.Module], setting: float, penalty: float, first: int, exit: nn.Linear):
        takes = "the probability from which the first classifier is sure, in [0, 1]"
        super().__init__(layers, setting, penalty, takes=takes)
        self.first = first
        self._add("exit", exit)

    def _stage(self, inputs: Tensor) -> tuple[Tensor, Tensor, dict[str, Seen]]:
        """The maps at the exit, its outputs, and what the layers did so far."""
        maps, seen = self._through(slice(self.first), inputs)
        early, passing = self.exit(maps.mean((2, 3))), maps.new_ones(maps.shape[:2])
        whole = early.new_ones(early.shape)
        seen["exit"] = Seen(whole, macs_of(self.exit, early, passing, whole), early.new_zeros(()), whole)
        return maps, early, seen

    def _rest(self, maps: Tensor) -> tuple[Tensor, dict[str, Seen]]:
        return self._through(slice(self.first, -1), maps)

    def follow(self, inputs: Tensor) -> tuple[Tensor, dict[str, Seen]]:
        maps, out, seen = self._stage(inputs)
        stays = out.softmax(1).amax(1) < self.setting
        late, rest = self._rest(maps[stays])  # the others are not computed

        def back(part: Tensor) -> Tensor:
            return part.new_zeros(len(inputs), *part.shape[1:]).index_put((stays.nonzero()[:, 0],), part)

        for name, (open, macs, term, passing) in rest.items():
            seen[name] = Seen(back(open), back(macs), term, back(passing))
        return torch.where(stays[:, None], back(late), out), seen

    @staticmethod
    def loss(model: Any, batch: Batch) -> Tensor:
        """The cross entropy of all inputs at the end and, times `penalty`, at the exit."""
        maps, early, _ = model._stage(batch.inputs)
        late, _ = model._rest(maps)
        end, exit = (loss_of(functional.cross_entropy, found, batch.targets) for found in (late, early))
        return end + model.penalty * exit


@registered("early-exit")
def early_exit(model: nn.Module, setting: float = 0.9, *, after: int | None = None, penalty: float = 1.0) -> Gated:
    """Let inputs leave after `after` convolutions (None: half of them) if a linear classifier there is sure of a class.

    The neighbour of gates: no channels are chosen. The inputs that stay are computed alone, which saves time, too.
    Source: Teerapittayanon et al. 2016, arXiv:1709.01686 (there by entropy; here by the highest probability).
    """
    layers = dict(chain(model))
    convs = [place for place, layer in enumerate(layers.values()) if isinstance(layer, nn.Conv2d)]
    after = check_count("after", len(convs) // 2 if after is None else after, least=0)
    if not 0 < after < len(convs):
        told = f"an exit stands after some convolutions and before others; got after={after} of {len(convs)}"
        raise ValueError(f"{told}. Pass a smaller number, for a network of at least 2 convolutions")
    *_, last = layers.values()
    if not isinstance(last, nn.Linear):
        raise ValueError(f"the exit has as many classes as the last layer, an nn.Linear; got {type(last).__name__}")
    following: Any = list(layers.values())[convs[after]]
    return Leaving(layers, setting, penalty, convs[after], nn.Linear(following.in_channels, last.out_features))
