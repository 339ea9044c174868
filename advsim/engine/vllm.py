"""vLLM's asynchronous engine, in this process's child. The only module that imports vLLM."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advsim.engine.protocol import Completion, EngineSpec, GenerationRequest
from advsim.engine.vllm_cpu import ENABLED
from advsim.errors import EngineDiedError, EngineError
from advsim.models.base import resolve_model
from advsim.records import AdapterRef
from advsim.runtime.actors import last_error_in, output_file, size_of

_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_BATCH_TOKENS = 4_096
"""Tokens of a step at least, where prompts are not split over steps."""


class VllmEngine:
    """One vLLM engine with a base model and, beside it, at most one adapter.

    Each adapter version is loaded under a new name and id: an in-place reload under one name can serve stale prefixes
    (vllm-project/vllm#42125) and re-reads the disk on every request (#41482).
    """

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._llm: Any = None
        self._base = Path()
        self._lora: Any = None
        self._merged = False

    async def start(self) -> None:
        """Start the engine process and load the base model; see :class:`advsim.engine.protocol.Engine`."""
        spec = self._spec
        if not spec.num_gpus:
            _set_cpu_environment(spec)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import AsyncEngineArgs
        from vllm.config import StructuredOutputsConfig
        from vllm.exceptions import VLLMError
        from vllm.v1.engine.async_llm import AsyncLLM

        serves_lora = spec.max_lora_rank > 0 and spec.config.adapter_serving == "lora"
        arguments: dict[str, Any] = {}
        if serves_lora:
            arguments |= {"enable_lora": True, "max_loras": 1, "max_cpu_loras": 2, "max_lora_rank": self._lora_rank()}
        if spec.num_gpus:
            arguments |= {"gpu_memory_utilization": spec.config.gpu_memory_utilization}
        else:
            cache_bytes = int(spec.config.kv_cache_gib * 2**30)
            arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": cache_bytes}
            if spec.whole_prompts:
                most = max(spec.config.max_model_len, _BATCH_TOKENS)
                arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": most}
        self._base = resolve_model(spec.model)
        log_file = output_file()
        log_size = size_of(log_file)
        try:
            self._llm = await asyncio.to_thread(
                AsyncLLM.from_engine_args,
                AsyncEngineArgs(
                    model=str(self._base),
                    dtype="bfloat16",
                    max_model_len=spec.config.max_model_len,
                    max_num_seqs=spec.config.max_num_seqs,
                    tensor_parallel_size=max(1, int(spec.num_gpus)),
                    enable_prefix_caching=True,
                    seed=spec.seed,
                    trust_remote_code=False,
                    disable_log_stats=True,
                    # Where white space is free between two parts of the JSON, a weak model can write it without end.
                    # Of its back ends, xgrammar (0.2.8) lets control characters into strings that have a maxLength.
                    structured_outputs_config=StructuredOutputsConfig(backend="guidance", disable_any_whitespace=True),
                    **arguments,
                ),
            )
        except (VLLMError, RuntimeError, ValueError, OSError) as error:
            # What went wrong in the engine's own process stands in its output only.
            cause = last_error_in(log_file, since=log_size) or cause_of(error)
            raise EngineError(f"vLLM could not start with {spec.model.path}: {cause}") from error

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """Sample continuations; see :class:`advsim.engine.protocol.Engine`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        sampling = SamplingParams(
            n=request.num_samples,
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_tokens,
            min_tokens=request.min_tokens,
            stop=list(request.stop_texts) or None,
            include_stop_str_in_output=True,
            stop_token_ids=list(request.stop_token_ids),
            # On CPU vLLM dies of a seed where a prompt is split over steps ("CPU Generator does not use offset").
            seed=request.seed if self._spec.num_gpus or self._spec.whole_prompts else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(json=request.json_schema) if request.json_schema else None,
        )
        final = await self._run(request.prompt_ids, sampling, use_adapter=request.use_adapter)
        stops = set(request.stop_token_ids)
        completions = []
        for output in final.outputs:
            token_ids = tuple(output.token_ids)
            text = output.text
            if token_ids and token_ids[-1] in stops:
                # include_stop_str_in_output keeps the stop token's text too: a turn's text ends before it.
                token_ids = token_ids[:-1]
                text = await self._decode(token_ids)
            completions.append(Completion(text=text, token_ids=token_ids, finished=output.finish_reason == "stop"))
        return completions

    async def load_adapter(self, adapter: AdapterRef, folder: Path) -> None:
        """Serve this adapter from now on; see :class:`advsim.engine.protocol.Engine`."""
        if self._spec.config.adapter_serving == "merged":
            await self._load_merged(folder)
            return
        from vllm.lora.request import LoRARequest

        lora = LoRARequest(
            lora_name=f"simulator-v{adapter.version}-{adapter.sha256[:12]}",
            lora_int_id=adapter.version + 1,
            lora_path=str(folder),
        )
        try:
            if self._lora is not None:
                await self._llm.remove_lora(self._lora.lora_int_id)
            loaded = await self._llm.add_lora(lora)
        except Exception as error:  # vLLM relays any failure of its child as a plain Exception
            await self.check_alive()
            raise EngineError(f"vLLM refused adapter version {adapter.version}: {cause_of(error)}") from error
        if not loaded:
            raise EngineError(f"vLLM did not load adapter version {adapter.version} from {folder}")
        self._lora = lora

    async def logprobs(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, use_adapter: bool
    ) -> list[float]:
        """Score given tokens; see :class:`advsim.engine.protocol.Engine`."""
        from vllm import SamplingParams

        tokens = (*prompt_ids, *completion_ids)
        sampling = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        final = await self._run(tokens, sampling, use_adapter=use_adapter)
        scored = final.prompt_logprobs[len(prompt_ids) :]
        return [row[token].logprob for row, token in zip(scored, completion_ids, strict=True)]

    async def check_alive(self) -> None:
        """Ask the engine's process; see :class:`advsim.engine.protocol.Engine`."""
        from vllm.v1.engine.exceptions import EngineDeadError

        if self._llm is None:
            raise EngineDiedError("the vLLM engine is not running")
        try:
            await self._llm.check_health()
        except EngineDeadError as error:
            raise _died() from error

    def close(self) -> None:
        """Stop the engine's process."""
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None

    async def _run(self, prompt_ids: Sequence[int], sampling: Any, *, use_adapter: bool) -> Any:
        from vllm.exceptions import VLLMError
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        if use_adapter and self._lora is None and not self._merged:
            raise EngineError("a request asks for the adapter, but none was loaded; push one first")
        final = None
        try:
            async for output in self._llm.generate(
                TokensPrompt(prompt_token_ids=list(prompt_ids)),
                sampling,
                request_id=uuid.uuid4().hex,
                lora_request=self._lora if use_adapter else None,
            ):
                final = output
        except EngineDeadError as error:
            raise _died() from error
        except (VLLMError, ValueError) as error:
            raise EngineError(f"vLLM refused a request of {len(prompt_ids)} tokens: {cause_of(error)}") from error
        assert final is not None, "vLLM ended a request without output"
        return final

    async def _decode(self, token_ids: tuple[int, ...]) -> str:
        tokenizer = self._llm.get_tokenizer()
        return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))

    async def _load_merged(self, folder: Path) -> None:
        from advsim.models.adapter import write_merged

        merged = folder / "merged"
        # Always from the base weights as they are on disk: merging on top of a merge loses precision.
        await asyncio.to_thread(write_merged, self._base, folder, merged)
        try:
            await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(merged)})
            await self._llm.reset_prefix_cache()
        except Exception as error:  # vLLM relays any failure of its child as a plain Exception
            await self.check_alive()
            raise EngineError(f"vLLM could not load merged weights: {cause_of(error)}") from error
        self._merged = True

    def _lora_rank(self) -> int:
        return next((rank for rank in _LORA_RANKS if rank >= self._spec.max_lora_rank), self._spec.max_lora_rank)


def _died() -> EngineDiedError:
    return EngineDiedError("the vLLM engine process died (killed, out of memory, or a step took too long)")


def _set_cpu_environment(spec: EngineSpec) -> None:
    bind = spec.config.cpu_threads_bind
    if bind == "all":
        bind = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = bind
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # older than kv_cache_memory_bytes, and would win over it
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it to the actor's logical CPUs
    # vLLM gives a step 300 s and then ends its engine for good: a CPU that others use too may take longer.
    os.environ.setdefault("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", str(int(spec.config.step_timeout_s)))
    os.environ.setdefault(ENABLED, "1")  # set to 0 from outside: vLLM's own way with adapters, to compare


def cause_of(error: BaseException) -> str:
    """What went wrong, on one line: of a chain the error that began it, without advice that stands behind it."""
    chain = [error]
    while (earlier := chain[-1].__cause__ or chain[-1].__context__) is not None and earlier not in chain:
        chain.append(earlier)
    said = next((text for link in reversed(chain) if (text := _sentence(link))), "")
    return said or type(error).__name__


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # pydantic ends with a link, vLLM's front end with where the cause stands in its log: neither is the cause.
    telling = [line for line in lines if not line.startswith(("For further information", "See root cause above"))]
    return " ".join(telling)[:600]
