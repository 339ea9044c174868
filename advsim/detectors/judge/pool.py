"""The judge's engines on Ray: one actor an engine, started for a judge and stopped after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from advsim.config import JudgeConfig, ModelConfig
from advsim.detectors.judge.client import JudgeMessage
from advsim.detectors.judge.engine import MODEL_KEY, AnsweringEngine, EngineJudgeClient, JudgeEngine, JudgeEngineSpec
from advsim.detectors.judge.judge import Judge
from advsim.detectors.taxonomy import Taxonomy
from advsim.engine.endpoint.completions import ChatAnswer
from advsim.engine.protocol import EngineSpec
from advsim.errors import AdvsimError, EngineDiedError, EngineError
from advsim.models.base import check_model
from advsim.prompts.window import ContextOverflowError
from advsim.runtime.actors import failure_of
from advsim.runtime.local_ray import ray_is_running, stop_ray
from advsim.runtime.placement import PoolRequest, Pools, join_ray, start_actors

_ANSWER_TIMEOUT_S = 600.0
_CLOSE_TIMEOUT_S = 30.0
_LOGS = "the logs of Ray (/tmp/ray/session_latest/logs on the engine's machine)"


class JudgePool:
    """Engines on Ray; see :class:`advsim.detectors.judge.engine.EnginePool`.

    Ray is joined, or started and then stopped with the engines, as for a training run.

    Args:
        judge: the model, its sampling, and its engines; the first has the seed of the judge, each next another.
    """

    def __init__(self, judge: JudgeConfig) -> None:
        self._judge = judge
        self._config = judge.engines
        self._actors: list[Any] = []
        self._engines: list[AnsweringEngine] = []
        self._pools = Pools(timeout_s=judge.engines.schedule_timeout_s)
        self._ray_is_ours = False

    @property
    def engines(self) -> Sequence[AnsweringEngine]:
        """The engines that are running."""
        return self._engines

    def start(self) -> None:
        """Start the engines; see :class:`advsim.detectors.judge.engine.EnginePool`."""
        if self._engines:
            return
        self.shut_down()  # of engines that have all died
        try:
            self._start()
        except BaseException:
            self.shut_down()
            raise

    def discard(self, engine: AnsweringEngine) -> None:
        """Stop asking an engine that has died."""
        if engine in self._engines:
            self._engines.remove(engine)

    def shut_down(self) -> None:
        """Stop the engines, free their place, and stop a Ray that was started for them."""
        actors, self._actors, self._engines = self._actors, [], []
        if not ray_is_running():
            return
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        with contextlib.suppress(RayError, GetTimeoutError):  # those that died are gone anyway
            ray.get([actor.close.remote() for actor in actors], timeout=_CLOSE_TIMEOUT_S)
        for actor in actors:
            ray.kill(actor)
        self._pools.release_all()
        if self._ray_is_ours:
            stop_ray()
        self._ray_is_ours = False

    def _start(self) -> None:
        config = self._config
        was_there = ray_is_running()
        join_ray(num_cpus=config.num_engines * config.num_cpus, object_store_mib=config.object_store_mib)
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        self._ray_is_ours = not was_there
        num_gpus = config.num_gpus
        if num_gpus is None:
            num_gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
        request = PoolRequest(
            pool="judge",
            num_bundles=config.num_engines,
            num_cpus=config.num_cpus,
            num_gpus=num_gpus,
            key="evaluate.judge.engines",
        )

        def arguments(index: int) -> tuple[JudgeEngineSpec]:
            engine = EngineSpec(
                kind="vllm",
                config=config.engine,
                model=judge_model(self._judge),
                num_gpus=num_gpus,
                seed=self._judge.seed + index,
            )
            temperature = 1.0 if self._judge.temperature is None else self._judge.temperature
            return (JudgeEngineSpec(engine=engine, max_tokens=self._judge.max_tokens, temperature=temperature),)

        self._actors = start_actors(
            JudgeEngine, request, self._pools.place(request), arguments, concurrency=config.engine.max_num_seqs + 8
        )
        try:
            ray.get([actor.start.remote() for actor in self._actors], timeout=config.engine.startup_timeout_s)
        except GetTimeoutError:
            raise EngineError(
                f"an engine of the judge did not start within {config.engine.startup_timeout_s:g} s; see {_LOGS}"
            ) from None
        except RayError as error:
            failure = failure_of(error, "judge's engine")
            raise (type(failure)(f"{failure}; see {_LOGS}") if isinstance(failure, EngineError) else failure) from error
        self._engines = [_RemoteEngine(actor) for actor in self._actors]


class _RemoteEngine:
    """An engine in an actor; its errors arrive as they were raised, without Ray's wrapping."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def answer(self, messages: Sequence[JudgeMessage], json_schema: str, seed: int) -> ChatAnswer:
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        call = self._actor.answer.remote(messages, json_schema, seed)
        try:
            reply: ChatAnswer = await call
        except asyncio.CancelledError:
            ray.cancel(call)  # nobody waits for it any more: the engine need not go on
            raise
        except RayActorError:
            raise EngineDiedError("the process of the judge's engine died") from None
        except RayTaskError as error:
            if isinstance(error.cause, AdvsimError | ContextOverflowError):
                raise error.cause from None
            raise failure_of(error, "judge's engine") from error
        return reply


def judge_model(config: JudgeConfig) -> ModelConfig:
    """The model of a judge with engines of its own."""
    return ModelConfig(path=config.model, revision=config.engines.revision)


def build_engine_judge(config: JudgeConfig, taxonomy: Taxonomy) -> Judge:
    """A judge on engines of its own: they start when it is first used, and stop at :meth:`Judge.shut_down`.

    Of ``config`` the keys of an endpoint are not read. Where it does not say how many calls may be under way and how
    long one may take, they are as many as the engines decode at once, and ten minutes.

    Raises:
        ConfigError: a local or embedded model is not there or has no weights; or see :class:`Judge`.
    """
    check_model(judge_model(config), key=MODEL_KEY)
    num_decoded = config.engines.num_engines * config.engines.engine.max_num_seqs
    fitting = {"max_concurrency": num_decoded, "timeout_s": _ANSWER_TIMEOUT_S}
    config = config.model_copy(
        update={key: value for key, value in fitting.items() if key not in config.model_fields_set}
    )
    pool = JudgePool(config)
    return Judge(EngineJudgeClient(pool), taxonomy, config, pool=pool)
