"""Simulators of a sweep: adapters of runs, adapters in folders, fixed lines, and mixtures of the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advsim.config import Config, ModelConfig, SimulatorConfig, parse_config
from advsim.config.paths import local_path
from advsim.errors import AdvsimError, ConfigError, RunError
from advsim.models.adapter import CONFIG_FILE, Canary, adapter_sha256
from advsim.models.adapter_fit import check_adapter_fits
from advsim.models.base import resolve_model
from advsim.models.hashing import folder_sha256
from advsim.records import AdapterRef
from advsim.rollout.delivery import Delivery, choice_of, delivery_of
from advsim.run_folder.folder import config_changes
from advsim.run_folder.reader import Run, load_run

FIRST_OTHER_VERSION = 100_000
"""Engines tell adapters apart by version: those that are not of the sweep's run are counted from here."""

_NO_CANARY = Canary(prompt_ids=(1,), completion_ids=(1,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """One simulator.

    Attributes:
        name: unique in the sweep.
        adapter: as the engines know it; None for the base model, fixed lines and mixtures.
        files_of: where an adapter that is not of the sweep's own run lies: run and version, or a folder.
        lines: fixed words of the user; empty where a model speaks.
        mixture: (name, weight) of the simulators it draws from; empty where it speaks itself.
        best_of: draws of each turn among which the probe of the adapter's run chooses.
        probe_sha256: of that probe; empty where nothing is chosen.
    """

    name: str
    adapter: AdapterRef | None = None
    files_of: tuple[Run, int] | str | None = None
    lines: tuple[str, ...] = ()
    mixture: tuple[tuple[str, float], ...] = ()
    best_of: int = 1
    probe_sha256: str = ""

    @property
    def speaks(self) -> bool:
        """Whether conversations are held with it; a mixture takes those of others."""
        return not self.mixture

    @property
    def needs_model(self) -> bool:
        """Whether its turns come from a language model."""
        return self.speaks and not self.lines

    @property
    def sha256(self) -> str:
        """What makes it what it is: of the adapter and its choice, or of lines or weights; empty for the base model."""
        if self.adapter is not None and self.best_of > 1:
            return hashlib.sha256(f"{self.adapter.sha256} {self.best_of} {self.probe_sha256}".encode()).hexdigest()
        if self.adapter is not None:
            return self.adapter.sha256
        said = repr(self.lines or self.mixture)
        return hashlib.sha256(said.encode()).hexdigest() if self.lines or self.mixture else ""


def choose_simulators(
    run: Run | None, wanted: Sequence[str | SimulatorConfig], config: Config
) -> tuple[Simulator, ...]:
    """The simulators that are asked for; all that the run has where none is.

    Args:
        run: the sweep's own; None where it has none.
        wanted: names of its simulators, and others.
        config: of the engines, which hold one base model.

    Raises:
        ConfigError: the run has none of that name, an adapter cannot be read, or needs another base model.
    """
    own = {} if run is None else own_simulators(run)
    if not wanted:
        return tuple(own.values())
    unknown = [name for name in wanted if isinstance(name, str) and name not in own]
    if unknown:
        raise ConfigError(f"simulators: got {unknown[0]}, expected some of {', '.join(own)}")
    return tuple(
        own[each] if isinstance(each, str) else _other(each, FIRST_OTHER_VERSION + number, config, run)
        for number, each in enumerate(wanted)
    )


def own_simulators(run: Run) -> dict[str, Simulator]:
    """The simulators of a run by name: the base model, SFT, and each finished round."""
    there = [Simulator(name="zero_shot"), Simulator(name="sft", adapter=run.adapter(0))]
    there += [Simulator(name=f"round_{n}", adapter=run.adapter(n)) for n in range(1, len(run.rounds) + 1)]
    return {simulator.name: simulator for simulator in there}


def delivery(simulator: Simulator, own: Run | None, canary: Canary | None, *, config: Config) -> Delivery:
    """A simulator's adapter on its way to the engines.

    The log-probabilities of the canary are known for the sweep's own run alone; of others the hash is checked.

    Args:
        simulator: with an adapter.
        own: the sweep's run.
        canary: of its training.
        config: of the engines.

    Raises:
        RunError: its files cannot be read.
        ConfigError: they are not those that the plan saw.
    """
    assert simulator.adapter is not None, "who asks has seen to it"
    if simulator.files_of is None:
        assert own is not None and canary is not None, "an adapter without a place of its own is the run's"
        return delivery_of(own, simulator.adapter.version, canary)
    choice = None
    if isinstance(simulator.files_of, str):
        folder = local_path(simulator.files_of, key="simulators.adapter")
        files = {file.name: file.read_bytes() for file in sorted(folder.glob("adapter_*"))}
    else:
        run, version = simulator.files_of
        files = dict(run.folder.read_files(run.adapter(version).path))
        if simulator.best_of > 1:
            choice = choice_of(run, version, _reader_model(run, config))
            if choice.sha256 != simulator.probe_sha256:
                raise ConfigError(
                    f"simulator {simulator.name}: the probe of {run.folder.location} has changed since the sweep was "
                    "planned; run the same command again once the run's training has ended"
                )
    return Delivery(adapter=simulator.adapter, files=files, canary=_NO_CANARY, canary_logprobs=(), choice=choice)


def drawn(simulator: Simulator, scenario: str, seed: int) -> str:
    """Whose conversation a mixture takes of a scenario: drawn by a hash, so that it is the same for every chatbot."""
    digest = hashlib.sha256(f"{simulator.name}\n{scenario}\n{seed}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * sum(weight for _, weight in simulator.mixture)
    for name, weight in simulator.mixture:
        point -= weight
        if point < 0:
            return name
    return simulator.mixture[-1][0]


def _other(config: SimulatorConfig, version: int, base: Config, own: Run | None) -> Simulator:
    if config.lines:
        return Simulator(name=config.name, lines=config.lines)
    if config.mixture:
        return Simulator(name=config.name, mixture=tuple(sorted(config.mixture.items())))
    if config.adapter is not None:
        folder = local_path(config.adapter, key="simulators.adapter")
        try:
            sha256 = adapter_sha256(folder)
        except AdvsimError as error:
            raise ConfigError(f"simulator {config.name}: {error}") from None
        _check_rank(config, folder, base)
        try:
            check_adapter_fits(folder, resolve_model(base.model))
        except ConfigError as error:
            raise ConfigError(f"simulator {config.name}: {error}") from None
        ref = AdapterRef(version=version, path=config.adapter, sha256=sha256)
        return Simulator(name=config.name, adapter=ref, files_of=config.adapter)
    assert config.run is not None, "the configuration sees to it"
    run = load_run(config.run)
    _check_same_model(config, run, base, own)
    there = own_simulators(run)
    at = config.at or list(there)[-1]
    if at not in there:
        raise ConfigError(f"simulator {config.name}: {config.run} has no {at}, expected one of {', '.join(there)}")
    _check_same_prompt(config, run, base)
    adapter = there[at].adapter
    if adapter is None:
        return Simulator(name=config.name)
    ref = AdapterRef(version=version, path=adapter.path, sha256=adapter.sha256)
    return Simulator(
        name=config.name,
        adapter=ref,
        files_of=(run, adapter.version),
        best_of=config.best_of,
        probe_sha256=_probe_sha256(config, run, adapter.version, base),
    )


def _probe_sha256(config: SimulatorConfig, run: Run, version: int, base: Config) -> str:
    if config.best_of == 1:
        return ""
    try:
        return choice_of(run, version, _reader_model(run, base)).sha256
    except RunError as error:
        raise ConfigError(f"simulator {config.name}, best_of: {error}") from None


def _reader_model(run: Run, base: Config) -> ModelConfig:
    """The model that a run's probe reads with; the base model from where the engines have it."""
    return parse_config(run.config).discriminator.model or base.model


def _check_same_model(config: SimulatorConfig, run: Run, base: Config, own: Run | None) -> None:
    """Check that a run was trained on the model that the engines hold: another has other tokens, too."""
    theirs = _model_sha256(run.manifest)
    ours = _model_sha256(own.manifest) if own is not None else folder_sha256(resolve_model(base.model), "*.safetensors")
    if theirs != ours:
        raise ConfigError(
            f"simulator {config.name}: {config.run} was trained on another base model ({theirs[:12] or 'not known'}) "
            f"than the engines hold ({ours[:12] or 'not known'}), with other weights or another tokenizer; sweep it on "
            "its own"
        )


def _check_rank(config: SimulatorConfig, folder: Path, base: Config) -> None:
    """Check what the engines could not serve, before they are started."""
    try:
        rank = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("r")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"simulator {config.name}: {folder / CONFIG_FILE} cannot be read ({error!s:.200})") from None
    if not isinstance(rank, int) or not 0 < rank <= base.lora.r:
        raise ConfigError(
            f"simulator {config.name}: its adapter has rank {rank!r:.20}, the engines serve ranks up to {base.lora.r}; "
            "raise it with -o 'run_overrides=[lora.r=...]'"
        )


def _check_same_prompt(config: SimulatorConfig, run: Run, base: Config) -> None:
    """Check that a simulator of another run is asked as it was trained: with other instructions it is another one."""
    theirs = parse_config(run.config).prompt
    changes = config_changes(theirs.model_dump(mode="json"), base.prompt.model_dump(mode="json"))
    if changes:
        raise ConfigError(
            f"simulator {config.name}: {config.run} was trained with another prompt ({', '.join(changes)} differ); "
            "sweep it on its own"
        )


def _model_sha256(manifest: Mapping[str, object]) -> str:
    model = manifest.get("model")
    return str(model.get("sha256", "")) if isinstance(model, dict) else ""
