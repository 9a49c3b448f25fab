"""A model that is put back as it was."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever the block does to `model`, put it back: weights, gradients, buffers, flags, and the random state.

    Also tensors that it replaced or cast (`model.double()`). Gradients are set aside: a `backward()` inside starts from
    none. Cost: one copy of the weights. Layers and hooks that the block adds stay.

    >>> model = nn.Linear(2, 1)
    >>> before = model.weight.clone()
    >>> with untouched(model):
    ...     _ = model.weight.data.zero_()
    >>> torch.equal(model.weight, before)
    True
    """
    owned = [(store, dict(store)) for m in model.modules() for store in (m._parameters, m._buffers)]
    tensors = [(t, t.data, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
    grads = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    flags = [(module, module.training) for module in model.modules()]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    cuda = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    for parameter, _, _ in grads:
        parameter.grad = None
    try:
        with torch.random.fork_rng(cuda):
            yield
    finally:
        for store, entries in owned:
            store.clear()
            store.update(entries)  # type: ignore[arg-type]
        for tensor, data, value in tensors:
            if tensor.data_ptr() != data.data_ptr() or tensor.dtype != data.dtype:
                tensor.data = data
            if not torch.equal(tensor, value):
                tensor.data.copy_(value)
        for parameter, grad, required in grads:
            parameter.requires_grad_(required)
            parameter.grad = grad
        for module, training in flags:
            module.training = training
        np.random.set_state(numpy_state)
        random.setstate(python_state)
