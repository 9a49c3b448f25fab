"""A folder pruned block by block: the bits of the live model, after a kill too, within a limit, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import TOKENS, small
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import workbench as wb
from workbench.methods.post_training.folders import INDEX, ONE

KINDS = ["Llama", "Qwen3", "Mistral", "Gemma2", "OPT", "GPT2", "GPTNeoX", "Bloom", "Mpt", "Mixtral"]


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    import transformers

    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.enable_progress_bar()


def saved(model: nn.Module, folder: Path, **more: Any) -> Path:
    model.save_pretrained(folder, **more)
    return folder


def loaded(folder: Path) -> Any:
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, and that its index names each."""
    if not (folder / INDEX).exists():
        return load_file(folder / ONE)
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    files = {name: load_file(folder / name) for name in set(index.values())}
    assert {key: name for name, file in files.items() for key in file} == index
    return {key: files[name][key] for key, name in index.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore:sparsity and compression count")  # stacked experts stay whole
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_becomes_what_the_live_model_becomes(kind: str, tmp_path: Path) -> None:
    source, out = saved(small(kind), tmp_path / "dense"), tmp_path / "pruned"
    state, seen = torch.get_rng_state(), list[str]()
    table = wb.prune_llm(source, TOKENS, "sparsegpt", 0.5, out=out, rows=3, report=seen.append)
    assert torch.equal(torch.get_rng_state(), state)
    model = loaded(source)
    masks, weights = wb.prune_llm(model, TOKENS, "sparsegpt", 0.5, rows=3)
    assert table.block.unique().tolist() == seen
    assert table.set_index("layer").kept.to_dict() == {name: int(mask.sum()) for name, mask in masks.items()}
    assert table.set_index("layer")["shape"].to_dict() == {name: tuple(mask.shape) for name, mask in masks.items()}
    model.load_state_dict(weights, strict=False)
    pruned = loaded(out)
    assert {name: p.dtype for name, p in pruned.named_parameters()} == {n: p.dtype for n, p in model.named_parameters()}
    assert all(torch.equal(p, model.get_parameter(name)) for name, p in pruned.named_parameters())
    with torch.no_grad():
        assert torch.equal(pruned(TOKENS).logits, model(TOKENS).logits)
    assert tensors(out).keys() == tensors(source).keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_keep_their_dtype_and_shards_do_not_matter(dtype: torch.dtype, tmp_path: Path) -> None:
    model = small("Llama", tie_word_embeddings=True).to(dtype)
    whole, parts = saved(model, tmp_path / "whole"), saved(model, tmp_path / "parts", max_shard_size="10KB")
    assert len(list(parts.glob("*.safetensors"))) > 3
    for source in (whole, parts):
        wb.prune_llm(source, TOKENS, "wanda", 0.5, granularity="2:4", out=f"{source}-pruned")
    one, other = tensors(Path(f"{whole}-pruned")), tensors(Path(f"{parts}-pruned"))
    assert all(torch.equal(value, other[key]) and value.dtype == dtype for key, value in one.items())
    assert "lm_head.weight" not in one
    _, weights = wb.prune_llm(loaded(whole), TOKENS, "wanda", 0.5, granularity="2:4")
    dense = tensors(whole)
    for key, value in one.items():
        assert torch.equal(value, weights.get(key, dense[key])), key


def test_weights_of_another_dtype_than_the_config_says_stay_in_theirs(tmp_path: Path) -> None:
    source, out = saved(small("Llama"), tmp_path / "dense"), tmp_path / "pruned"
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    wb.prune_llm(source, TOKENS, "sparsegpt", 0.5, out=out)
    model = loaded(source)
    _, weights = wb.prune_llm(model, TOKENS, "sparsegpt", 0.5)
    found = tensors(out)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert all(torch.equal(found[name], weight.float()) for name, weight in weights.items())
    assert weights["model.layers.1.mlp.up_proj.weight"].dtype == torch.bfloat16


def test_files_beside_the_weights_go_along_and_a_card_says_what_was_done(tmp_path: Path) -> None:
    source, out = saved(small("Llama"), tmp_path / "dense"), tmp_path / "pruned"
    old = {"README.md": "old", "LICENSE": "mine", "tokenizer.json": "{}", "pytorch_model.bin": "old", ".git": "x"}
    for name, text in old.items():
        (source / name).write_text(text)
    budget = {"model.layers.0": 0.25, "model.layers.1": 0.75}
    excluded = ["*.down_proj"]
    table = wb.prune_llm(str(source), TOKENS, "sparsegpt", budget, out=str(out), exclude=excluded, damp=0.1)
    assert {p.name for p in out.iterdir() if p.suffix != ".safetensors"} == {
        "LICENSE", "README.md", "config.json", "generation_config.json", "pruning.json", "tokenizer.json", INDEX
    }  # fmt: skip
    assert (out / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert len(table) == 12
    assert table.groupby("block").sparsity.mean().tolist() == [0.25, 0.75]
    card = (out / "README.md").read_text()
    removed = sum(int((value == 0).sum()) for key, value in tensors(out).items() if "proj" in key)
    assert f"({removed:,} of {table.weights.sum():,} weights" in card
    # The call in the card, run again, writes the same bytes.
    code = card.split("```python\n")[1].split("```")[0]
    again = tmp_path / "again"
    code = code.replace("'dense'", repr(str(source))).replace('"..."', repr(str(again)))
    exec(code, {"tokens": TOKENS})
    assert contents(again) == contents(out)


def child(code: str, *arguments: object, **environment: str) -> str:
    """What a Python program of its own prints."""
    words = [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parents[1]), *map(str, arguments)]
    done = subprocess.run(
        words, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from decoders import TOKENS
    from workbench.methods.post_training import prune_llm

    source, replace, given = sys.argv[2], os.replace, []

    def replaced(part, path):
        given.append(Path(path).name.startswith("model"))
        if sum(given) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(part, path)

    def run(out):
        if not (child := os.fork()):
            os.replace = replaced
            prune_llm(source, TOKENS, "sparsegpt", 0.5, out=out)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    prune_llm(source, TOKENS, "sparsegpt", 0.5, out=sys.argv[3])
    while (code := run(sys.argv[4])) == -signal.SIGKILL:
        print("killed")
    print(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of a process")
def test_a_run_that_is_killed_before_each_file_ends_with_the_same_bytes(tmp_path: Path) -> None:
    source = saved(small("Llama", num_hidden_layers=3), tmp_path / "dense")
    told = child(KILLED, source, tmp_path / "at-once", tmp_path / "in-parts")
    assert told.split() == [*["killed"] * 5, "0"]  # two files outside the blocks, three of blocks
    assert contents(tmp_path / "in-parts") == contents(tmp_path / "at-once")


def test_finished_blocks_are_not_pruned_again(tmp_path: Path) -> None:
    source, out, blocks = saved(small("Llama"), tmp_path / "dense"), tmp_path / "pruned", list[str]()

    def stop(block: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wb.prune_llm(source, TOKENS, "sparsegpt", 0.5, out=out, report=stop)
    table = wb.prune_llm(source, TOKENS, "sparsegpt", 0.5, out=out, report=blocks.append)
    assert blocks == ["model.layers.0", "model.layers.1"]
    assert table.seconds.isna().groupby(table.block).all().tolist() == [True, False]
    table = wb.prune_llm(source, TOKENS, "sparsegpt", 0.5, out=out, report=blocks.append)
    assert len(blocks) == 2  # all was there
    assert table.seconds.isna().all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"method": "wanda"}, r'method "sparsegpt" there, "wanda" now'),
        ({"sparsity": 0.6}, "sparsity 0.5 there, 0.6 now"),
        ({"inputs": TOKENS.flip(0)}, "calibration"),
        ({"granularity": "2:4"}, 'granularity "weight" there, "2:4" now'),
        ({"exclude": ["*.up_proj"]}, "exclude"),
        ({"damp": 0.1}, r'options \{\} there, \{"damp": 0.1\} now'),
        ({"rows": 2}, "rows 8 there, 2 now"),
        ({"model": "other"}, "tensors"),
    ],
)
def test_other_arguments_do_not_go_on_with_a_run(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    source = saved(small("Llama"), tmp_path / "dense")
    other = small("Llama")
    with torch.no_grad():
        other.get_parameter("model.layers.1.mlp.up_proj.weight")[0, 0] += 1
    saved(other, tmp_path / "other" / "dense")  # of the same name
    given = dict(model=source, inputs=TOKENS, method="sparsegpt", sparsity=0.5)
    wb.prune_llm(**given, out=tmp_path / "out")
    before = contents(tmp_path / "out")
    if change.get("model"):
        change = {"model": tmp_path / "other" / "dense"}
    with pytest.raises(ValueError, match=f"pruned from other arguments: .*{told}.* another out="):
        wb.prune_llm(**{**given, **change}, out=tmp_path / "out")
    assert contents(tmp_path / "out") == before


LIMITED = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import torch, transformers
    from decoders import TOKENS
    from workbench.methods.post_training import prune_llm

    first, source, out, more = *map(Path, sys.argv[2:5]), int(sys.argv[5])
    prune_llm(first, TOKENS, "wanda", 0.5, out=out / "first")  # what libraries take once
    taken = next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]
    resource.setrlimit(resource.RLIMIT_DATA, (int(taken) * 1024 + more, -1))
    prune_llm(source, TOKENS, "wanda", 0.5, out=out / "second")
    print("blocks: yes")
    try:
        transformers.AutoModelForCausalLM.from_pretrained(source)
    except (MemoryError, RuntimeError, OSError):
        print("whole: no")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory that a process may write to")
def test_a_model_larger_than_the_limit_is_pruned(tmp_path: Path) -> None:
    import transformers

    units, layers = 640, 24
    sizes = dict(hidden_size=units, intermediate_size=2 * units, num_attention_heads=4, num_key_value_heads=4)
    known = dict(num_hidden_layers=1, vocab_size=256, max_position_embeddings=16)
    one = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**sizes, **known))
    first, source = saved(one, tmp_path / "one"), tmp_path / "dense"
    shutil.copytree(first, source, ignore=shutil.ignore_patterns("*.safetensors"))
    one.config.num_hidden_layers = layers
    one.config.save_pretrained(source)
    state = one.state_dict()  # the same numbers in each block: this writes faster
    own = {key: value for key, value in state.items() if ".layers.0." in key}
    parts = [{key.replace(".0.", f".{at}."): value for key, value in own.items()} for at in range(layers)]
    parts.append({key: value for key, value in state.items() if key not in own})
    for at, part in enumerate(parts):
        save_file(part, source / f"{at}.safetensors", {"format": "pt"})
    weight_map = {key: f"{at}.safetensors" for at, part in enumerate(parts) for key in part}
    (source / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    told = child(LIMITED, first, source, tmp_path, size // 2)
    assert told.splitlines() == ["blocks: yes", "whole: no"]
    found = load_file(next((tmp_path / "second").glob(f"*-{layers + 1:05}-of-*")))
    assert (found[f"model.layers.{layers - 1}.mlp.up_proj.weight"] == 0).float().mean() == 0.5
