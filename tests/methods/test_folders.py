"""A folder pruned block by block: the bits of the live model, after a kill too, within a limit, and what is refused."""

from __future__ import annotations

import json
import math
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
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import workbench as wb
from workbench.cli import main
from workbench.data.text import read_reference
from workbench.methods.post_training.folders import INDEX, ONE
from workbench.models.hollow import empty, without_memory, zero

KINDS = ["Llama", "Qwen3", "Mistral", "Gemma2", "OPT", "GPT2", "GPTNeoX", "Bloom", "Mpt", "Mixtral", "HrmText"]
"""Of Mixtral the experts are single tensors on disk; of HrmText some layers are one, and blocks run several times."""


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


@pytest.mark.filterwarnings("ignore:sparsity and compression count")  # routers stay whole
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


def test_names_of_another_layout_stay_as_they_are(tmp_path: Path) -> None:
    """A decoder that was saved without its head, and a tensor that no parameter has."""
    source, out = saved(small("GPT2").transformer, tmp_path / "dense"), tmp_path / "pruned"
    more = {**load_file(source / ONE), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file(more, source / ONE, {"format": "pt"})
    wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out)
    _, weights = wb.prune_llm(loaded(source), TOKENS, "wanda", 0.5)
    expected = {**more, **{name.removeprefix("transformer."): weight for name, weight in weights.items()}}
    found = tensors(out)
    assert found.keys() == more.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def test_of_tied_weights_only_the_head_may_be_stored(tmp_path: Path) -> None:
    source, out = saved(small("GPT2"), tmp_path / "dense"), tmp_path / "pruned"
    whole = load_file(source / ONE)
    whole["lm_head.weight"] = whole.pop("transformer.wte.weight")
    save_file(whole, source / ONE, {"format": "pt"})
    wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out)
    model = loaded(source)
    _, weights = wb.prune_llm(model, TOKENS, "wanda", 0.5)
    model.load_state_dict(weights, strict=False)
    with torch.no_grad():
        assert torch.equal(loaded(out)(TOKENS).logits, model(TOKENS).logits)


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


def test_another_number_of_threads_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    """It gives other last bits."""
    source, threads = saved(small("Llama"), tmp_path / "dense"), torch.get_num_threads()
    wb.prune_llm(source, TOKENS, "wanda", 0.5, out=tmp_path / "out")
    try:
        torch.set_num_threads(threads + 1)
        with pytest.raises(ValueError, match=f"threads {threads} there, {threads + 1} now"):
            wb.prune_llm(source, TOKENS, "wanda", 0.5, out=tmp_path / "out")
    finally:
        torch.set_num_threads(threads)


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

    units, layers = 640, 12
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
    # Else glibc keeps what is freed, and pyarrow takes a gigabyte of addresses.
    habits = {"MALLOC_MMAP_THRESHOLD_": "65536", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    told = child(LIMITED, first, source, tmp_path, size // 2, **habits)
    assert told.splitlines() == ["blocks: yes", "whole: no"]
    found = load_file(next((tmp_path / "second").glob(f"*-{layers + 1:05}-of-*")))
    assert (found[f"model.layers.{layers - 1}.mlp.up_proj.weight"] == 0).float().mean() == 0.5


def spoiled(folder: Path, how: str) -> None:
    """Make a mistake in a folder of several shards."""
    shard = sorted(folder.glob("*.safetensors"))[1]
    index, config = folder / INDEX, json.loads((folder / "config.json").read_text())
    if how == "no config":
        (folder / "config.json").unlink()
    elif how == "unknown":
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "mine"}))
    elif how == "quantized":
        told = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
        (folder / "config.json").write_text(json.dumps({**config, **told}))
    elif how == "layers":
        told = {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 3, "model_type": "qwen3"}
        (folder / "config.json").write_text(json.dumps({**config, **told}))
    elif how == "shard missing":
        shard.unlink()
    elif how == "shard cut short":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif how == "no index":
        index.write_text("{}")
    elif how == "no weights":
        for path in (*folder.glob("*.safetensors"), index):
            path.unlink()
    elif how == "pickle":
        spoiled(folder, "no weights")
        torch.save({}, folder / "pytorch_model.bin")
    elif how == "wrong index":
        told = json.loads(index.read_text())
        told["weight_map"]["lm_head.weight"] = told["weight_map"]["model.norm.weight"] = shard.name
        index.write_text(json.dumps(told))
    elif how == "a tensor less":
        whole = tensors(folder)
        spoiled(folder, "no weights")
        save_file({key: value for key, value in whole.items() if "layers.1.mlp.up_proj" not in key}, folder / ONE)
    elif how == "other shapes":
        (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("no config", r"has a config.json; .*dense has none. Pass one that save_pretrained wrote"),
        ("unknown", r"transformers cannot read .*config.json: .*mine.* newer transformers"),
        ("layers", r"transformers cannot read .*config.json: .*layer_types.* newer transformers"),
        ("quantized", r"dense is quantized. Prune the model it was made from"),
        ("shard missing", r"names \d+ shards; model-00002-of-\d+.safetensors missing in .* Get it again"),
        (
            "shard cut short",
            r"whole safetensors files; .*model-00002-of-\d+.safetensors is not: .*cut short: get it again",
        ),
        ("no index", r"is no index of shards: KeyError\('weight_map'\). Get it again"),
        ("no weights", r"holds model.safetensors or .*; .*dense has neither. Get the weights, too"),
        ("pickle", r"holds pytorch_model.bin, a pickle, which can run any code when it is read. If you trust it"),
        ("wrong index", r"says that \S+ is in model-00002-of-\S+, which does not hold it"),
        ("a tensor less", r"none of them is model.layers.1.mlp.up_proj.weight. Get both from one place"),
        (
            "other shapes",
            r"model.layers.0.mlp.gate_proj.weight is \[64, 32\] there, \[48, 32\] by .* Get both from one place",
        ),
    ],
)
def test_a_folder_that_is_no_whole_decoder_is_refused_before_anything_is_written(
    how: str, told: str, tmp_path: Path
) -> None:
    source = saved(small("Llama"), tmp_path / "dense", max_shard_size="10KB")
    spoiled(source, how)
    with pytest.raises(ValueError, match=told):
        wb.prune_llm(source, TOKENS, "wanda", 0.5, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["Bert", "T5", "Bart"])
def test_a_model_that_is_no_decoder_is_refused(kind: str, tmp_path: Path) -> None:
    import transformers

    getattr(transformers, f"{kind}Config")().save_pretrained(tmp_path)
    what = "an encoder" if kind == "Bert" else "an encoder and a decoder"
    with pytest.raises(ValueError, match=rf"is {what} \({kind.lower()}\). Prune it with wb.score"):
        wb.prune_llm(tmp_path, TOKENS, "wanda", 0.5, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"inputs": TOKENS + 200}, ValueError, r"knows the tokens 0 to 255; got \d+ to \d+. Use the tokenizer of this"),
        ({"inputs": TOKENS - 256}, ValueError, r"knows the tokens 0 to 255; got -\d+ to -\d+"),
        ({"inputs": TOKENS.float()}, TypeError, r"an int64 tensor \[n, t\]; got torch.float32 \(4, 16\)"),
        ({"inputs": TOKENS[0]}, TypeError, r"an int64 tensor \[n, t\]; got torch.int64 \(16,\)"),
        ({"inputs": [[1]]}, TypeError, r"an int64 tensor \[n, t\]; got list"),
        ({"inputs": TOKENS.repeat(1, 5)}, ValueError, r"reads at most 64 tokens; got rows of 80. Pass shorter rows"),
        (
            {"granularity": "3:6", "sparsity": 0.5},
            ValueError,
            r"'model.layers.0.self_attn.q_proj' has 32, no multiple of 6",
        ),
        ({"method": "wando"}, ValueError, r"Did you mean 'wanda'"),
        ({"sparsity": 1.0}, ValueError, r"in \[0, 1\); got 1.0"),
        ({"damp": 1}, TypeError, r"'wanda' takes no options; got damp"),
        ({"rows": 0}, ValueError, r"rows is a whole number of at least 1; got 0"),
        ({"out": None}, TypeError, r"got no out="),
        ({"model": 3}, TypeError, r"a folder or an id of the hub; got int"),
        ({"model": Path("nowhere")}, ValueError, r"there is no folder nowhere. Pass a folder that"),
    ],
)
def test_a_call_that_cannot_work_ends_before_anything_is_written(
    change: dict[str, Any], error: type[Exception], told: str, tmp_path: Path
) -> None:
    source = saved(small("Llama"), tmp_path / "dense")
    given = dict(model=source, inputs=TOKENS, method="wanda", sparsity=0.5, out=tmp_path / "out")
    with pytest.raises(error, match=told):
        wb.prune_llm(**{**given, **change})
    assert [path.name for path in tmp_path.iterdir()] == ["dense"]


def test_a_place_that_cannot_take_the_result_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, full, file = saved(small("Llama"), tmp_path / "dense"), tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "thesis.tex").touch()
    file.touch()
    for name, text in {"list": "[]", "none": "{}", "cut": '{"layers": '}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "pruning.json").write_text(text)
        with pytest.raises(ValueError, match=rf"{name}.pruning.json is no record of prune_llm: .* Pass another out="):
            wb.prune_llm(source, TOKENS, "wanda", 0.5, out=tmp_path / name)
    before = contents(source)
    for out, told in {
        source: "a folder of its own; got out=",
        source / ".." / "dense": "a folder of its own; got out=",
        source / "pruned": "a folder of its own; got out=.*, in the model's folder. Pass another",
        full: "holds thesis.tex. Pass another out=",
        file: "out= is a folder; .*file is a file",
        file / "below": r"out= is a folder that can be written; \[Errno",
    }.items():
        with pytest.raises(ValueError, match=told):
            wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out)
    with pytest.raises(ValueError, match=r"is a file. Pass the folder that it is in"):
        wb.prune_llm(source / ONE, TOKENS, "wanda", 0.5, out=tmp_path / "out")
    with pytest.raises(TypeError, match="out= is for a model in a folder; got it with LlamaForCausalLM"):
        wb.prune_llm(small("Llama"), TOKENS, "wanda", 0.5, out=tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(ValueError, match=r"the result takes 0.0 GB; .* has 0.0 GB free. Make room"):
        wb.prune_llm(source, TOKENS, "wanda", 0.5, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert contents(source) == before


def test_a_disk_without_room_is_known_before_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run before has written takes no more room."""
    source, out = saved(small("Llama"), tmp_path / "dense"), tmp_path / "out"

    def stop(block: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out, report=stop)
    size, there = (sum(p.stat().st_size for p in folder.glob("*.safetensors")) for folder in (source, out))
    for free in (size - there, size - there - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(size, 0, free))
        if free < size - there:
            with pytest.raises(ValueError, match="Make room, or pass an out= on another disk"):
                wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out)
        else:
            with pytest.raises(KeyboardInterrupt):
                wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out, report=stop)


@pytest.mark.parametrize("id", ["nobody/no-such-model", "no-such-model"])
def test_an_id_of_the_hub_without_network_is_one_clear_error(
    id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    told = rf"no folder '{id}' here, and as a model of the hub it cannot be had .*Connect to the network.* or copy"
    with pytest.raises(ValueError, match=told):
        wb.prune_llm(id, TOKENS, "wanda", 0.5, out=tmp_path / "out")


def test_activations_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    model = small("Llama")
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight[0] = math.inf
    source = saved(model, tmp_path / "dense")
    with pytest.raises(ValueError, match=r"inputs of 'model.layers.1.self_attn.q_proj.weight' are NaN or infinite"):
        wb.prune_llm(source, TOKENS, "wanda", 0.5, out=tmp_path / "out")
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight[0] = 1
        model.model.layers[1].mlp.up_proj.weight[0, 0] = math.nan
    source = saved(model, tmp_path / "other")
    with pytest.raises(ValueError, match=r"'model.layers.1.mlp.up_proj.weight' has 1 that are NaN"):
        wb.prune_llm(source, TOKENS, "magnitude", 0.5, out=tmp_path / "out2")


@given(st.text(min_size=1), st.integers(1, 5), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_calibration_tokens_are_windows_of_the_text(text: str, n: int, t: int, seed: int) -> None:
    whole = text.encode()
    if len(whole) < t:
        with pytest.raises(ValueError, match=rf"as a sample has, {t}; got {len(whole)}. Pass a longer text"):
            wb.calibration_tokens(text, n, t, seed=seed)
        return
    tokens = wb.calibration_tokens(text, n, t, seed=seed)
    assert tokens.shape == (n, t)
    assert all(bytes(row.tolist()) in whole for row in tokens)
    assert torch.equal(tokens, wb.calibration_tokens(text, n, t, seed=seed))


def words(folder: Path) -> Any:
    """A tokenizer of five words, in a folder."""
    import transformers

    known = {word: number for number, word in enumerate(["a", "b", "c", "d", "[UNK]"])}
    told = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}}
    told |= {"model": {"type": "WordLevel", "vocab": known, "unk_token": "[UNK]"}}
    file = folder.with_suffix(".words")
    file.write_text(json.dumps(told), encoding="utf-8")
    found = transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), model_max_length=4)
    found.save_pretrained(folder)
    return found


def test_a_tokenizer_makes_the_tokens_without_marks(tmp_path: Path) -> None:
    tokens = wb.calibration_tokens("a b c d a b", 1, 6, tokenizer=words(tmp_path))
    assert tokens.tolist() == [[0, 1, 2, 3, 0, 1]]
    with pytest.raises(TypeError, match="made from a text; got bytes"):
        wb.calibration_tokens(b"abc", 1, 1)


@pytest.mark.parametrize("cut", [0, 1])
def test_a_finished_file_that_is_damaged_is_told_before_a_block_is_computed(cut: int, tmp_path: Path) -> None:
    source, out, seen = saved(small("Llama"), tmp_path / "dense"), tmp_path / "out", list[str]()
    wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out)
    whole = contents(out)
    first, *_, last = sorted(out.glob("*.safetensors"))
    first.unlink()
    last.write_bytes(last.read_bytes()[: -1 if cut else 0])
    told = rf"{last.name} is not: .*by an earlier call: remove this file and call again"
    with pytest.raises(ValueError, match=told):
        wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out, report=seen.append)
    assert not first.exists()
    last.unlink()
    wb.prune_llm(source, TOKENS, "wanda", 0.5, out=out, report=seen.append)
    assert contents(out) == whole
    assert len(seen) == 2


def test_bytes_for_a_model_that_knows_more_tokens_give_a_warning(tmp_path: Path) -> None:
    source = saved(small("Llama", vocab_size=300), tmp_path / "dense")
    with pytest.warns(UserWarning, match="dense knows 300 tokens; no calibration token is over 255, as if"):
        wb.prune_llm(source, TOKENS, "wanda", 0.5, out=tmp_path / "bytes")
    wb.prune_llm(source, TOKENS + 44, "wanda", 0.5, out=tmp_path / "tokens")  # warnings are errors here


def test_a_tokenizer_by_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"got 'qwen3' \(str\). Pass transformers.AutoTokenizer"):
        wb.calibration_tokens("abc", 1, 1, tokenizer="qwen3")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--context", "0"], "--context is a whole number of at least 1; got 0"),
        (["--text", "missing"], "--text is a file that can be read; missing cannot (No such file or directory)"),
        (["--text", "{latin}"], "latin is not (invalid continuation byte at byte 1). Save it as UTF-8, or name"),
        (["-o", "{source}/pruned"], "in the model's folder. Pass another out= (in a terminal: -o FOLDER)"),
        (["--granularity", "3:6"], "or another n:m (in a terminal: --exclude NAME)"),
    ],
)
def test_a_mistake_in_the_command_is_told(
    more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(small("Llama"), tmp_path / "dense")
    (tmp_path / "latin").write_bytes("aé".encode("latin-1") + b"b")
    more = [word.format(latin=tmp_path / "latin", source=source) for word in more]
    given = ["prune-llm", str(source), "-o", str(tmp_path / "out"), "--samples", "1"]
    assert main([*given, *more]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_the_command_prunes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = saved(small("Llama"), tmp_path / "dense"), tmp_path / "out"
    given = ["prune-llm", str(source), "-o", str(out), "--samples", "3", "--context", "8", "--seed", "5"]
    assert main([*given, "--granularity", "2:4", "--exclude", "*.down_proj"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["block 1 of 2, model.layers.0", "block 2 of 2, model.layers.1"]
    assert [line.partition(":")[0] for line in lines[:2]] == names
    assert all(line.endswith(" s since the start") for line in lines[:2])
    assert lines[2] == f"50.0% of the weights of 12 layers removed; see {out}/README.md"
    tokens = wb.calibration_tokens(read_reference("train"), 3, 8, seed=5)
    again = wb.prune_llm(source, tokens, "wanda", 0.5, granularity="2:4", exclude=["*.down_proj"], out=tmp_path / "b")
    assert len(again) == 12
    assert contents(tmp_path / "b") == contents(out)


def test_the_command_reads_a_text_with_the_tokenizer_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, text = saved(small("Llama", vocab_size=5), tmp_path / "dense"), tmp_path / "text"
    text.write_text("a b c d " * 9, encoding="utf-8")
    given = ["prune-llm", str(source), "-o", str(tmp_path / "out"), "--text", str(text), "--context", "8"]
    assert main(given) == 2
    assert "dense has 5 and none. Copy the tokenizer's files into it" in capsys.readouterr().err
    words(source)
    assert main(given) == 0
    assert "of the weights of 14 layers removed" in capsys.readouterr().out
    assert main([*given, "--context", "60"]) == 2
    assert "as many tokens as a sample has, 60; got 36" in capsys.readouterr().err
    assert main([*given, "--device", "cuda:x"]) == 2
    assert "device is a torch device" in capsys.readouterr().err
    words(tmp_path / "four")
    smaller = saved(small("Llama", vocab_size=4), tmp_path / "four")
    text.write_text("a b x " * 9, encoding="utf-8")
    assert main([*given[:1], str(smaller), "-o", str(tmp_path / "o"), "--text", str(text), "--context", "8"]) == 2
    assert "knows the tokens 0 to 3; got 0 to 4. Use the tokenizer of this model" in capsys.readouterr().err
    (source / "tokenizer.json").write_text("{", encoding="utf-8")
    assert main(given) == 2
    assert "cannot read the tokenizer in" in capsys.readouterr().err


def test_a_model_without_memory_has_its_shapes_and_the_true_buffers() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(3)
            self.drawn = nn.Parameter(torch.randn(4), requires_grad=False)
            self.register_buffer("steps", torch.arange(3))

    with without_memory():
        model = Part()
    assert all(p.is_meta for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True]
    assert model.steps.tolist() == [0, 1, 2]
    assert torch.ones(2).tolist() == [1, 1]
    assert not nn.Linear(2, 2).weight.is_meta
    zero([model], torch.device("cpu"))
    assert {name: p.count_nonzero().item() for name, p in model.named_parameters()} == dict.fromkeys(
        dict(model.named_parameters()), 0
    )
    assert len({p.untyped_storage().data_ptr() for p in model.parameters()}) == 1
    empty(model)
    assert all(p.is_meta for p in model.parameters())
