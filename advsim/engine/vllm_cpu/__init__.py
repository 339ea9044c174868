"""LoRA on CPU as dense matrix products: a platform plug-in of vLLM's, on only in advsim's own engines.

vLLM 0.32 applies adapters on CPU by gathering a copy of the adapter's weights for every token. Where a batch mixes
requests with and without adapter it indexes those weights with -1, so that the requests *without* adapter get the last
adapter there is: a chatbot that shares the simulator's engine would speak with the simulator's adapter. The plug-in
does two matrix products over the batch instead, masked to the tokens that asked for the adapter: right in mixed
batches, and faster (benchmarks/serving.py).

vLLM imports this module while it looks for its platform, when nothing of vLLM can be used yet: the parts that need it
are in modules that it imports afterwards.
"""

from __future__ import annotations

import os

ENABLED = "ADVSIM_CPU_PLATFORM"
"""Environment variable that turns the plug-in on. Without it, other users of this Python keep vLLM's own platform."""


def activate() -> str | None:
    """Entry point of the group ``vllm.platform_plugins``: the platform class to use, or None to stay out."""
    return f"{__name__}.platform.AdvsimCpuPlatform" if os.environ.get(ENABLED) == "1" else None
