"""LoRA adapters: make, load, save, hash, and score tokens with one. Shared by the stages that train.

An adapter is a folder with exactly two files, ``adapter_model.safetensors`` and ``adapter_config.json``, as PEFT and
vLLM read them. Both are written so that equal weights give equal bytes on every machine: the hash names the adapter.
torch, transformers and PEFT are imported inside the functions that need them.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advsim.config import LoraConfig
from advsim.errors import RunError
from advsim.models.hashing import folder_sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel
    from transformers import PreTrainedModel

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
TRAINED_ADAPTER = "default"
"""PEFT's name of the adapter that is trained."""
BASE_MODEL_NAME = "base"
"""Stands in the adapter's config for the base model: a machine's path there would change the hash and leak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A fixed prompt and completion, scored by the learner with an adapter's final weights.

    A rollout engine that holds the same weights gives the same log-probabilities, up to its numerics.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


def load_base(base: Path, *, dtype: str) -> PreTrainedModel:
    """Base model of a resolved folder, in ``float32`` or ``bfloat16``, on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), trust_remote_code=False)


def new_adapter(base_model: PreTrainedModel, config: LoraConfig, *, seed: int) -> PeftModel:
    """Base model with a fresh adapter, which changes nothing yet (B = 0). The caller's random state is left alone."""
    import torch
    from peft import LoraConfig as PeftLoraConfig
    from peft import TaskType, get_peft_model

    peft_config = PeftLoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules),
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(base_model, peft_config)


def load_trainable(base: Path, adapter_dir: Path | None, *, dtype: str, lora: LoraConfig, seed: int) -> PeftModel:
    """Base model with a trainable adapter: the one of ``adapter_dir``, or a fresh one where that is None.

    Args:
        base: resolved model folder.
        adapter_dir: an adapter that :func:`save_adapter` wrote.
        dtype: ``float32`` or ``bfloat16``, of the base model; adapter weights are always float32.
        lora: shape of a fresh adapter; a loaded one has its own.
        seed: of a fresh adapter's weights.

    Raises:
        RunError: ``adapter_dir`` holds no adapter.
    """
    from peft import PeftModel

    base_model = load_base(base, dtype=dtype)
    if adapter_dir is None:
        return new_adapter(base_model, lora, seed=seed)
    _check_adapter(adapter_dir)
    return PeftModel.from_pretrained(base_model, adapter_dir, adapter_name=TRAINED_ADAPTER, is_trainable=True)


def save_adapter(peft_model: PeftModel, folder: Path) -> str:
    """Write the trained adapter as safetensors, atomically (a sibling folder, then a rename), and return its SHA-256.

    A folder of that name that a broken-off run left behind is replaced.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    # The embedding layers are never trained here, and PEFT's "auto" would ask the hub about the base model.
    weights = get_peft_model_state_dict(peft_model, adapter_name=TRAINED_ADAPTER, save_embedding_layers=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        written = Path(scratch) / folder.name
        written.mkdir()
        contiguous = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
        save_file(contiguous, written / WEIGHTS_FILE, metadata={"format": "pt"})
        (written / CONFIG_FILE).write_text(_config_json(peft_model), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        written.rename(folder)
    return adapter_sha256(folder)


def adapter_files(peft_model: PeftModel) -> tuple[dict[str, bytes], str]:
    """The trained adapter's two files by name, and its SHA-256; see :func:`save_adapter`."""
    with tempfile.TemporaryDirectory(prefix="advsim-adapter-") as scratch:
        folder = Path(scratch) / "adapter"
        sha256 = save_adapter(peft_model, folder)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}, sha256


def write_merged(base: Path, adapter_dir: Path, target: Path) -> None:
    """Write the base model with an adapter folded into its weights, for engines that serve nothing else.

    Merged in float32 from the base weights as they are on disk and rounded once: merging on top of a merge would add up
    rounding errors.
    """
    import torch
    from peft import PeftModel

    _check_adapter(adapter_dir)
    merged = PeftModel.from_pretrained(load_base(base, dtype="float32"), adapter_dir).merge_and_unload()
    merged.to(torch.bfloat16).save_pretrained(target)


def adapter_sha256(folder: Path) -> str:
    """SHA-256 over the adapter's two files.

    Raises:
        RunError: one of them is missing.
    """
    _check_adapter(folder)
    return folder_sha256(folder, pattern="adapter_*")


def completion_logprobs(causal_lm: PeftModel | PreTrainedModel, canary: Canary) -> tuple[float, ...]:
    """Log-probability of each completion token given the prompt and the completion tokens before it, in nats.

    Dropout is off while it runs; temperature 1.
    """
    import torch

    num_completion = len(canary.completion_ids)
    ids_1T = torch.tensor([[*canary.prompt_ids, *canary.completion_ids]], device=causal_lm.device)
    was_training = causal_lm.training
    causal_lm.eval()
    try:
        with torch.no_grad():
            logits_CV = causal_lm(input_ids=ids_1T, logits_to_keep=num_completion + 1, use_cache=False).logits[0, :-1]
    finally:
        causal_lm.train(was_training)
    logprobs_CV = torch.log_softmax(logits_CV.float(), dim=-1)
    logprobs_C1 = logprobs_CV.gather(-1, ids_1T[0, -num_completion:].unsqueeze(-1))
    return tuple(logprobs_C1.squeeze(-1).tolist())


def _config_json(peft_model: PeftModel) -> str:
    config = copy.deepcopy(peft_model.peft_config[TRAINED_ADAPTER])
    config.base_model_name_or_path = BASE_MODEL_NAME
    config.inference_mode = True
    return json.dumps(config.to_dict(), indent=2, sort_keys=True, default=_sorted_set) + "\n"


def _sorted_set(value: Sequence[str] | set[str]) -> list[str]:
    # PEFT holds module names in a set, whose order differs between processes.
    return sorted(value)


def _check_adapter(folder: Path) -> None:
    missing = [name for name in (WEIGHTS_FILE, CONFIG_FILE) if not (folder / name).is_file()]
    if missing:
        raise RunError(
            f"{folder}: no adapter there ({' and '.join(missing)} missing); expected the two files that training "
            "writes. Remove the folder and run the stage that makes it again"
        )
