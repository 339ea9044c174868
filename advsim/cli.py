"""The command line. Thin: heavy packages are imported after the arguments are parsed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from advsim.errors import AdvsimError, RunError

if TYPE_CHECKING:
    from advsim.config import Config

_DESCRIPTION = """\
advsim learns realistic users from real chats and lets chatbot variants meet those instead of people.

  advsim check configs/quickstart.yaml        is this configuration sound? what would each pool ask for?
  advsim train configs/quickstart.yaml        train a user simulator; the same command resumes an interrupted run
  advsim report runs/quickstart               write the report of a run again
  advsim evaluate runs/quickstart             failures, realism, diversity of a run against held-out real dialogues
  advsim evaluate --conversations a.jsonl --reference b.jsonl   the same for any two dialogue files
  advsim lab configs/lab.yaml                 do the estimators find truths that are known? no model needed
  advsim corpus stats chats.jsonl.gz          counts, lengths and typing habits of dialogues
  advsim submit configs/paper.yaml --address http://head:8265   train on a Ray cluster

Exit code 0: done; 2: the input must be changed; 3: the run failed and can be resumed by the same command.
"""

_OVERRIDES_HELP = "override a configuration key, for example -o stop.max_rounds=1 -o corpus.path=chats.jsonl.gz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except AdvsimError as error:
        print(f"advsim: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("advsim: interrupted; run the same command to resume", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="advsim", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = _command(commands, "check", _check, "check a configuration in a second, without starting anything")
    _config_arguments(check)
    check.add_argument("--json", action="store_true", help="print the resolved configuration and the pools as JSON")

    train = _command(
        commands, "train", _train, "train a user simulator by SFT and adversarial rounds; resumes by itself"
    )
    _config_arguments(train)
    train.add_argument(
        "--allow-changed",
        action="append",
        default=[],
        metavar="KEY",
        help="on resume, accept that this configuration key (or 'corpus') differs from the run's",
    )
    train.add_argument("--json", action="store_true", help="print the metrics of all rounds as JSON at the end")

    submit = _command(commands, "submit", _submit, "run 'advsim train' on a Ray cluster as a job")
    _config_arguments(submit)
    submit.add_argument(
        "--address", required=True, help="job address of the cluster's head, for example http://127.0.0.1:8265"
    )
    submit.add_argument("--no-wait", action="store_true", help="return once the job is submitted")

    report = _command(commands, "report", _report, "write report/index.html of a run and print its table")
    report.add_argument("run_folder", metavar="RUN", help="run folder, for example runs/quickstart")
    report.add_argument("--json", action="store_true", help="print baseline and rounds as JSON instead of the table")

    evaluate = _command(
        commands,
        "evaluate",
        _evaluate,
        "failures of the chatbot, and how its users write, in a run or in dialogue files",
    )
    evaluate.add_argument("run_folder", nargs="?", metavar="RUN", help="run folder; or give --conversations")
    evaluate.add_argument(
        "--conversations", metavar="FILE", help="dialogues: .jsonl, .jsonl.gz or .parquet; no run needed"
    )
    evaluate.add_argument("--reference", metavar="FILE", help="real dialogues to compare the conversations with")
    evaluate.add_argument(
        "--out", metavar="FOLDER", help="write metrics.json, failures.parquet and evaluation.html there"
    )
    evaluate.add_argument(
        "--pairs",
        nargs="+",
        default=[],
        metavar="A:B",
        help="chatbots to compare, chosen beforehand, where dialogues name several; default: all with the baseline",
    )
    evaluate.add_argument(
        "--baseline", metavar="NAME", help="the chatbot that all others are compared with; default: the first by name"
    )
    evaluate.add_argument(
        "--detector", default="rules", metavar="NAME", help="rules (default), learned, combined (of these two) or judge"
    )
    evaluate.add_argument("--taxonomy", metavar="FILE", help="YAML that adds failure modes or replaces their texts")
    evaluate.add_argument(
        "--calibration",
        metavar="FILE",
        help="labelled messages, or 'shipped': also give rates without the detector's errors on them",
    )
    evaluate.add_argument(
        "--judge-url",
        default="",
        metavar="URL",
        help="OpenAI-compatible endpoint, up to and with /v1; without it the judge's model is started here, on vLLM",
    )
    evaluate.add_argument(
        "--judge-model",
        default="",
        metavar="NAME",
        help="with --judge-url the model's name there; without it embedded:smollm2-135m (for a try: far too small to "
        "judge well), a hub id, or a folder of a chat model",
    )
    evaluate.add_argument(
        "--judge-engines",
        type=int,
        default=1,
        metavar="N",
        help="without --judge-url: engines that share the work; each takes one GPU, or this CPU where there is none",
    )
    evaluate.add_argument("--judge-key-env", metavar="NAME", help="NAME of the environment variable with the key")
    evaluate.add_argument(
        "--judge-votes",
        type=int,
        default=1,
        metavar="N",
        help="ask each question N times, with other seeds at temperature 0.7, and count the votes (default 1)",
    )
    evaluate.add_argument(
        "--judge-scope",
        choices=("rubric", "mode"),
        default="rubric",
        help="rubric: all modes in one call (default); mode: one call a mode, for small models, 12 times as many calls",
    )
    evaluate.add_argument("--json", action="store_true", help="print all figures as JSON instead of the tables")

    lab = _command(commands, "lab", _lab, "try the estimators on scripted users and chatbots whose truth is known")
    _config_arguments(lab)
    lab.add_argument("--json", action="store_true", help="print the configuration and all figures as JSON")

    corpus = commands.add_parser("corpus", help="look at dialogues", description="Look at dialogues.")
    corpus_commands = corpus.add_subparsers(required=True, metavar="COMMAND")
    stats = _command(corpus_commands, "stats", _corpus_stats, "counts, lengths and typing habits of dialogues")
    stats.add_argument(
        "path",
        nargs="?",
        help="a .jsonl, .jsonl.gz or .parquet file of dialogues, or a YAML config; default: the sample",
    )
    stats.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help=_OVERRIDES_HELP)
    stats.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="YAML file; see configs/")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help=_OVERRIDES_HELP)


def _load(options: argparse.Namespace) -> Config:
    from advsim.config import load_config

    return load_config(options.config, options.overrides)


def _check(options: argparse.Namespace) -> None:
    from advsim.training.check import check_config

    check_config(_load(options), as_json=options.json)


def _train(options: argparse.Namespace) -> None:
    config = _load(options)
    from advsim.run_folder.folder import RunDir
    from advsim.training.check import check_inputs

    check_inputs(config)
    folder = RunDir(config.run_path)
    folder.write_bytes("logs/README", b"Output of the driver, the engines and Ray, off the screen.\n")
    log_file = str(folder.path / "logs" / "driver.log") if folder.is_local else os.devnull
    with _output_to(log_file) as (terminal_out, terminal_err):
        from advsim.runtime.progress import Reporter
        from advsim.training.run import REPORT, run_training

        try:
            run = run_training(config, allow_changed=options.allow_changed, reporter=Reporter(file=terminal_err))
        except (AdvsimError, KeyboardInterrupt):
            traceback.print_exc()  # into the log; the terminal gets one paragraph
            raise
        except Exception as error:
            traceback.print_exc()
            raise RunError(
                f"unexpected {type(error).__name__}: {error}. The traceback is in {log_file}; what is finished is "
                "kept, run the same command to resume"
            ) from error
        if options.json:
            json.dump({"baseline": run.baseline, "rounds": run.rounds}, terminal_out, indent=2)
            terminal_out.write("\n")
        else:
            _print_tables(run, terminal_out)
            print(f"report: {config.run_path}/{REPORT}", file=terminal_out)


def _submit(options: argparse.Namespace) -> None:
    from advsim.runtime.submit import submit_training

    submit_training(_load(options), address=options.address, wait=not options.no_wait)


def _report(options: argparse.Namespace) -> None:
    from advsim.config import Config
    from advsim.corpus.load import load_corpus
    from advsim.run_folder.reader import load_run
    from advsim.training.run import REPORT, render_report

    run = load_run(options.run_folder)
    if options.json:
        print(json.dumps({"baseline": run.baseline, "rounds": run.rounds}, indent=2))
        return
    corpus = load_corpus(Config.model_validate(run.manifest["config"]).corpus)
    run.folder.write_bytes(REPORT, render_report(run, corpus).encode())
    _print_tables(run, sys.stdout)
    print(f"report: {run.folder.location}/{REPORT}")


def _evaluate(options: argparse.Namespace) -> None:
    from advsim.errors import ConfigError

    if (options.run_folder is None) == (options.conversations is None):
        got = "neither a run nor --conversations" if options.run_folder is None else "a run and --conversations"
        raise ConfigError(f"evaluate: got {got}, expected one of the two; see advsim evaluate --help")
    if options.run_folder is not None and (options.reference or options.out):
        raise ConfigError(
            "evaluate: --reference and --out go with --conversations; a run has its own real dialogues and folder"
        )
    if options.run_folder is not None and (options.pairs or options.baseline is not None):
        raise ConfigError("evaluate: --pairs and --baseline go with --conversations; a run has one chatbot")
    from advsim.evaluation import REPORT, JudgeOptions, evaluate_files, evaluate_run
    from advsim.run_folder.reader import load_run

    judge = JudgeOptions(
        base_url=options.judge_url,
        model=options.judge_model,
        api_key_env=options.judge_key_env,
        num_votes=options.judge_votes,
        scope=options.judge_scope,
        num_engines=options.judge_engines,
    )
    if options.run_folder is not None:
        evaluation = evaluate_run(
            load_run(options.run_folder),
            detector=options.detector,
            taxonomy=options.taxonomy,
            judge=judge,
            calibration=options.calibration,
        )
        written = f"{options.run_folder}/{REPORT}"
    else:
        evaluation = evaluate_files(
            options.conversations,
            reference=options.reference,
            detector=options.detector,
            taxonomy=options.taxonomy,
            judge=judge,
            calibration=options.calibration,
            out=options.out,
            pairs=options.pairs,
            baseline=options.baseline,
        )
        written = f"{options.out}/evaluation.html" if options.out else ""
    if options.json:
        print(json.dumps(evaluation.to_json(), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        _print_evaluation(evaluation.to_json())
        if written:
            print(f"report: {written}")
    judged = [group.failures for group in evaluation.groups if group.failures is not None]
    if options.detector == "judge" and judged and all(one.num_errors == one.num_messages for one in judged):
        raise RunError(
            "the judge gave no verdict on any message; see the notes, mend the endpoint or choose another model, and "
            "run it again"
        )


def _print_evaluation(values: dict[str, Any]) -> None:
    from rich.console import Console

    from advsim.report.evaluation.tables import evaluation_tables

    console = Console(width=None if sys.stdout.isatty() else 100)
    for part in evaluation_tables(values):
        console.print(part)


def _lab(options: argparse.Namespace) -> None:
    from rich.console import Console

    from advsim.commands.lab import lab_command
    from advsim.runtime.progress import Reporter

    console = Console(width=None if sys.stdout.isatty() else 120)
    lab_command(options.config, options.overrides, as_json=options.json, console=console, reporter=Reporter())


def _corpus_stats(options: argparse.Namespace) -> None:
    from rich.console import Console

    from advsim.config import load_config, parse_config
    from advsim.corpus.stats import stats_command

    if options.path and options.path.endswith((".yaml", ".yml")):
        config = load_config(options.path, options.overrides)
    else:
        values = {"corpus": {"path": options.path}} if options.path else {}
        config = parse_config(values, options.overrides)
    stats_command(config.corpus, as_json=options.json, console=Console())


def _print_tables(run: Any, file: TextIO) -> None:
    from rich.console import Console

    from advsim.report.run.tables import round_tables

    console = Console(file=file, width=None if file.isatty() else 100)
    for table in round_tables(run.baseline, run.rounds):
        console.print(table)


@contextlib.contextmanager
def _output_to(log_file: str) -> Iterator[tuple[TextIO, TextIO]]:
    """Send file descriptors 1 and 2, and so all chatter of libraries and child processes, to a log file.

    Yields:
        Streams to where standard output and standard error went before.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    terminal_out, terminal_err = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield terminal_out, terminal_err
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        terminal_out.flush()
        terminal_err.flush()
        os.dup2(terminal_out.fileno(), 1)
        os.dup2(terminal_err.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main())
