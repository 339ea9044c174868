"""Submission of a training run or a sweep to a Ray cluster as a job."""

from __future__ import annotations

import hashlib
import ipaddress
import shlex
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import yaml
from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_fixed

from advsim.config import ChatbotConfig, Config, CorpusConfig, SweepConfig
from advsim.config.paths import local_path
from advsim.errors import ConfigError, one_line
from advsim.runtime.code_files import code_files, is_file
from advsim.runtime.follow import follow_job

_MAX_SHIPPED_BYTES = 100 * 2**20
_ANSWER_TIMEOUT_S = 20.0
_CHATBOTS = "chatbots"
"""Folder of the job with the chatbots of a sweep, and nothing else that ends so."""


def submit_training(
    config: Config,
    *,
    address: str,
    wait: bool,
    allow_changed: Sequence[str] = (),
    allow_open_head: bool = False,
) -> str:
    """Submit ``advsim train`` with this configuration and follow its output.

    Local dialogues, and the file of a chatbot that is Python code with what it imports from its folder, travel with the
    job; models and the run folder must be reachable from the cluster.

    Args:
        config: the configuration, overrides applied.
        address: job address of the cluster's head, ``http://host:port``.
        wait: follow the job's output until it ends.
        allow_changed: of ``advsim train``: keys that may differ from those the run was started with.
        allow_open_head: send dialogues also to a head that asks nobody for a token.

    Returns:
        The job's id.

    Raises:
        ConfigError: the cluster cannot be reached, refuses the token, or takes anybody in; or the dialogues are too
            large to travel.
        RunError: the job failed, or the head fell silent.
        KeyboardInterrupt: with a message that says what becomes of the job.
    """

    def fill(folder: Path) -> None:
        shipped = _shipped(config, folder)
        (folder / "config.yaml").write_text(
            yaml.safe_dump(shipped.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )

    return _submit(
        fill,
        entrypoint=_entrypoint(allow_changed),
        name=config.name,
        address=address,
        wait=wait,
        is_private=_ships_dialogues(config.corpus) and not allow_open_head,
    )


def submit_sweep(
    settings: SweepConfig,
    chatbots: Sequence[ChatbotConfig],
    corpus: CorpusConfig | None,
    *,
    address: str,
    wait: bool,
    allow_open_head: bool = False,
) -> str:
    """Submit ``advsim sweep`` with these settings and follow its output.

    Chatbots' files and the code they name, scenarios, and the dialogues of the run travel with the job; the run, the
    output folder and models must be reachable from the cluster.

    Args:
        settings: the sweep, overrides applied.
        chatbots: of its files.
        corpus: of its run; None where it has no run.
        address: job address of the cluster's head, ``http://host:port``.
        wait: follow the job's output until it ends.
        allow_open_head: send chats also to a head that asks nobody for a token.

    Returns:
        The job's id.

    Raises:
        ConfigError, RunError, KeyboardInterrupt: see :func:`submit_training`.
    """

    def fill(folder: Path) -> None:
        shipped = _shipped_sweep(settings, chatbots, corpus, folder)
        (folder / "config.yaml").write_text(
            yaml.safe_dump(shipped.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )

    ships_people = settings.scenarios is not None or (corpus is not None and _ships_dialogues(corpus))
    return _submit(
        fill,
        entrypoint=shlex.join(["python", "-m", "advsim.cli", "sweep", "config.yaml"]),
        name="sweep",
        address=address,
        wait=wait,
        is_private=ships_people and not allow_open_head,
    )


def _submit(
    fill: Callable[[Path], None], *, entrypoint: str, name: str, address: str, wait: bool, is_private: bool
) -> str:
    """Submit a job whose folder ``fill`` fills; what is private goes to a head alone that asks for a token."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    with tempfile.TemporaryDirectory(prefix="advsim-job-") as scratch:
        working_dir = Path(scratch)
        fill(working_dir)
        if is_private:
            _check_closed(address)
        try:
            client = JobSubmissionClient(address)
            # A head that has just started answers for some seconds before it can run a job.
            patient = Retrying(
                retry=retry_if_exception_message(match=r"(?s).*No available agent"),
                wait=wait_fixed(2),
                stop=stop_after_delay(60),
                reraise=True,
            )
            job_id = patient(
                client.submit_job,
                entrypoint=entrypoint,
                runtime_env={"working_dir": str(working_dir)},
                metadata={"advsim_run": name},
            )
        except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
            reason = one_line(str(error), max_characters=400)
            raise ConfigError(
                f"cannot submit to {address}: {reason}. Check the address (the head's dashboard port, often 8265) and "
                "the token: 'ray get-auth-token' on both sides, with RAY_AUTH_MODE=token"
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted while the job was being submitted; whether it was: ray job list --address {address}"
            ) from None
    print(f"submitted {job_id} to {address}", flush=True)
    if wait:
        follow_job(client, str(job_id), address=address)
    else:
        print(f"follow it with: ray job logs {job_id} --address {address} --follow")
    return str(job_id)


def _entrypoint(allow_changed: Sequence[str]) -> str:
    allowed = [part for key in allow_changed for part in ("--allow-changed", key)]
    return shlex.join(["python", "-m", "advsim.cli", "train", "config.yaml", *allowed])


def _ships_dialogues(corpus: CorpusConfig) -> bool:
    return bool(corpus.path) and corpus.source in ("jsonl", "parquet")


def _check_closed(address: str) -> None:
    """Check that a head asks for a token, before dialogues are sent there: else they could be anybody's.

    Raises:
        ConfigError: it lists its jobs to somebody without a token, or nobody answers.
    """
    if _is_this_machine(address):
        return
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/api/jobs/", timeout=_ANSWER_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as refused:
        if refused.code in (401, 403):
            return
        reason = f"HTTP status {refused.code}"
    except (OSError, ValueError) as error:
        reason = one_line(str(error), max_characters=200)
    else:
        raise ConfigError(
            f"{address} asks nobody for a token: whoever reaches it can read the dialogues that travel with the job. "
            "Start the head with RAY_AUTH_MODE=token, reach it through a tunnel to 127.0.0.1, or accept it with "
            "--allow-open-head"
        )
    raise ConfigError(
        f"cannot submit to {address}: {reason}. Check the address (the head's dashboard port, often 8265), and that "
        "the head runs"
    )


def _is_this_machine(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shipped(config: Config, working_dir: Path) -> Config:
    """The configuration as the job will read it: the run folder absolute, dialogues and a chatbot's code beside it."""
    updates: dict[str, object] = {}
    if "://" not in config.output_dir:
        updates["output_dir"] = str(local_path(config.output_dir, key="output_dir").resolve())
    if _ships_dialogues(config.corpus):
        assert config.corpus.path is not None, "it is what ships"
        name = _ship(config.corpus.path, working_dir, key="corpus.path")
        updates["corpus"] = config.corpus.model_copy(update={"path": name})
    updates["chatbot"] = _shipped_chatbot(config.chatbot, working_dir)
    return config.model_copy(update=updates)


def _shipped_chatbot(chatbot: ChatbotConfig, working_dir: Path) -> ChatbotConfig:
    """The chatbot as the job will read it: its code, with what it imports from its folder, beside the configuration."""
    if chatbot.function is None:
        return chatbot
    key = "chatbot.function"
    place, _, name = chatbot.function.rpartition(":")
    code = code_files(chatbot.function, folder=Path.cwd(), key=key)
    if code is None:
        if is_file(place):
            _ship(place, working_dir, key=key)  # says what is wrong with it
        return chatbot
    names = {file: file.relative_to(code.root) for file in code.files}
    folder = Path()
    if is_file(place):
        path = local_path(place, key=key)
        names[code.files[0]] = Path(path.name)  # which may be a link
        folder = path.parent
    if not _keeps_name(folder):
        here = hashlib.sha256(str(code.root).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        choices = (Path(*key.split(".")), Path(*key.split("."), here))
        folder = next((choice for choice in choices if not _holds_others(working_dir / choice, names)), choices[-1])
    _check_size(code.files, place, key=key)
    for file, relative in names.items():
        target = working_dir / folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    if not is_file(place):
        return chatbot
    return chatbot.model_copy(update={"function": f"{(folder / names[code.files[0]]).as_posix()}:{name}"})


def _holds_others(folder: Path, names: Mapping[Path, Path]) -> bool:
    """Whether a folder of the job has other files under the names of these."""
    there = ((folder / relative, file) for file, relative in names.items())
    return any(target.is_file() and target.read_bytes() != file.read_bytes() for target, file in there)


def _shipped_sweep(
    settings: SweepConfig, chatbots: Sequence[ChatbotConfig], corpus: CorpusConfig | None, working_dir: Path
) -> SweepConfig:
    """The sweep as the job will read it: its folders absolute, all that it reads beside it."""
    for chatbot in chatbots:
        values = _shipped_chatbot(chatbot, working_dir).model_dump(mode="json", exclude_defaults=True)
        file = working_dir / _CHATBOTS / f"{quote(chatbot.name, safe='')}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump({"name": chatbot.name, **values}, sort_keys=False), encoding="utf-8")
    updates: dict[str, object] = {"chatbots": (_CHATBOTS,)}
    for key in ("run", "output"):
        folder = getattr(settings, key)
        if folder is not None and "://" not in folder:
            updates[key] = str(local_path(folder, key=key).resolve())
    if settings.scenarios is not None:
        updates["scenarios"] = _ship(settings.scenarios, working_dir, key="scenarios")
    if corpus is not None and _ships_dialogues(corpus):
        assert corpus.path is not None, "it is what ships"
        name = _ship(corpus.path, working_dir, key="corpus.path")
        updates["run_overrides"] = (*settings.run_overrides, f"corpus.path={name}")
    evaluate = {
        key: _ship(str(value), working_dir, key=f"evaluate.{key}")
        for key in ("weights", "reader", "taxonomy", "worth", "calibration")
        if (value := getattr(settings.evaluate, key)) is not None and value != "shipped"
    }
    updates["evaluate"] = settings.evaluate.model_copy(update=evaluate)
    updates["simulators"] = tuple(
        each
        if isinstance(each, str)
        else each.model_copy(
            update={
                key: str(local_path(value, key=f"simulators.{key}").resolve())
                for key in ("run", "adapter")
                if (value := getattr(each, key)) is not None and "://" not in value
            }
        )
        for each in settings.simulators
    )
    return settings.model_copy(update=updates)


def _ship(text: str, working_dir: Path, *, key: str) -> str:
    """Copy the file or folder of a configuration's key into the job's folder; returns its path there.

    A path below the current folder keeps its name, by which the run's dialogues are found from here later.
    """
    path = local_path(text, key=key)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise ConfigError(
            f"{key}: got {text!r}, which is no file and no folder with files here; it has to travel with the job"
        )
    _check_size(files, text, key=key)
    is_free = _keeps_name(path) and path.parts[0] not in ("config.yaml", _CHATBOTS)
    name = path if is_free else Path(*key.split(".")) / path.name
    target = working_dir / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    else:
        shutil.copy(path, target)
    return name.as_posix()


def _keeps_name(path: Path) -> bool:
    """Whether a path is one of the job's folder as it is one of the current one."""
    return not path.is_absolute() and ".." not in path.parts


def _check_size(files: Sequence[Path], text: str, *, key: str) -> None:
    num_bytes = sum(file.stat().st_size for file in files)
    if num_bytes > _MAX_SHIPPED_BYTES:
        raise ConfigError(
            f"{key}: {text} has {num_bytes / 2**20:.0f} MiB, at most {_MAX_SHIPPED_BYTES // 2**20} travel with a "
            "job; put it where the cluster can read it and start 'ray job submit -- advsim train' by hand"
        )
