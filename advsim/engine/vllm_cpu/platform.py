"""vLLM's CPU platform with another LoRA wrapper."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform


class AdvsimCpuPlatform(CpuPlatform):  # type: ignore[misc]  # vLLM is not type-checked here
    """vLLM's CPU platform in everything but how adapters are applied."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """Name of the class that applies adapters."""
        return "advsim.engine.vllm_cpu.wrapper.DenseLora"
