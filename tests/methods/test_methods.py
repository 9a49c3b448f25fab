"""Methods by hand, on networks of a few weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.methods.macs import keep_within_macs
from workbench.methods.obs import remove_weights
from workbench.types import Batch


def test_as_many_weights_as_the_macs_pay_for() -> None:
    """A convolution's weight costs 4 positions, a dense weight 1; scores rank the convolution's first."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 1, bias=False))
    scores = {"0.weight": torch.tensor([9.0, 8.0]).reshape(2, 1, 1, 1), "2.weight": torch.arange(8.0).reshape(1, 8)}
    example = torch.ones(1, 1, 2, 2)
    for most, convolution, dense in ((4, 1, 0), (7, 1, 0), (8, 2, 0), (11, 2, 3), (16, 2, 8), (99, 2, 8)):
        masks = keep_within_macs(model, scores, most, example)
        assert [int(masks[name].sum()) for name in scores] == [convolution, dense], most
    with pytest.raises(ValueError, match="enough for at least one weight; got 3"):
        keep_within_macs(model, scores, 3, example)


def test_what_stays_makes_up_for_what_goes() -> None:
    """Two inputs that are always equal: y = 1 x + 2 x is 3 x, which one weight of 3 gives as well."""
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    batch = Batch(torch.tensor([[1.0, 1.0], [2.0, 2.0]]), torch.tensor([[3.0], [6.0]]))
    masks, weights = remove_weights(model, batch, 1, loss_fn=nn.functional.mse_loss)
    assert masks["weight"].tolist() == [[False, True]]
    assert weights["weight"][0].tolist() == pytest.approx([0, 3], abs=1e-4)
    assert model.weight.tolist() == [[1.0, 2.0]], "the model is untouched"
    with pytest.raises(ValueError, match="from 0 to 1; got 2"):
        remove_weights(model, batch, 2, loss_fn=nn.functional.mse_loss)
