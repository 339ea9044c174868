"""The command line's arguments. What a command does, and all that is heavy, is imported after they are parsed."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from advsim.errors import AdvsimError, ConfigError, one_line, printable

_DESCRIPTION = """\
advsim learns realistic users from real chats and lets chatbot variants meet those instead of people.

  advsim check configs/quickstart.yaml        is this configuration sound? what would each pool ask for?
  advsim check my_bot.yaml                    does this chatbot answer, and how fast?
  advsim train configs/quickstart.yaml        train a user simulator; the same command resumes an interrupted run
  advsim report runs/quickstart               write the report of a run again
  advsim verify runs/quickstart               are its files those that its stages wrote?
  advsim evaluate runs/quickstart             failures, realism, diversity of a run against held-out real dialogues
  advsim evaluate --conversations a.jsonl --reference b.jsonl   the same for any two dialogue files
  advsim sweep configs/sweeps/chatbots.yaml -o run=runs/quickstart   its simulators against fourteen chatbots
  advsim predict runs/quickstart/sweep --out prediction.json   freeze what its simulator says of these chatbots
  advsim score prediction.json logs.jsonl     how far was that off, now that people have met them?
  advsim gate runs/quickstart/sweep --baseline a --candidate b --max-increase 2   for CI: is b worse than a?
  advsim lab configs/lab.yaml                 do the estimators find truths that are known? no model needed
  advsim bench rollout runs/quickstart        tokens a second beside other ways; 'advsim bench' lists what is measured
  advsim detectors measure                    how often are a detector's findings right?
  advsim corpus stats chats.jsonl.gz          counts, lengths and typing habits of dialogues
  advsim submit configs/paper.yaml --address http://head:8265   train, or sweep, on a Ray cluster
  advsim serve runs/quickstart                the simulated person as a chat endpoint, for other programs to talk to

Exit code 0: done; 2: the input must be changed; 3: the run failed; what is finished is kept; 70: advsim itself failed.
Of 'advsim gate' also 1: the candidate is worse; 4: not enough evidence.
"""

_OWN_FAULT = 70
"""EX_SOFTWARE of sysexits.h. Python's own 1 would be a verdict of 'advsim gate'."""

_OVERRIDES_HELP = "override a configuration key, for example -o stop.max_rounds=1 -o corpus.path=chats.jsonl.gz"

_CORPUS_HELP = "where the run's dialogues lie now, should they not be found; the same as -o corpus.path=PATH"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_PrintableFormatter())
    try:
        options = _parser().parse_args(arguments)
        code: int | None = importlib.import_module(f"advsim.commands.{options.module}").run(options)
    except AdvsimError as error:
        print(f"advsim: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt as interrupted:
        print(f"advsim: {str(interrupted) or _interrupted(arguments)}", file=sys.stderr)
        return 130
    except Exception as error:  # whatever it is: its code must not be taken for a verdict
        print(printable(traceback.format_exc()), file=sys.stderr)
        print(
            f"advsim: unexpected {type(error).__name__}: {one_line(str(error), max_characters=300)}. This is a fault "
            "of advsim, not of what it was given; report it with the traceback above",
            file=sys.stderr,
        )
        return _OWN_FAULT
    return code or 0


def _interrupted(arguments: Sequence[str] | None) -> str:
    """What a user has to know after Ctrl-C: most commands begin again, and have changed nothing."""
    command = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    return "interrupted; run the same command to resume" if command in ("train", "sweep") else "interrupted"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="advsim", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = _command(
        commands, "check", "check a configuration, or a chatbot's file, in a second; send the chatbot a message"
    )
    _config_arguments(check)
    check.add_argument("--no-call", action="store_true", help="send no message to a chatbot outside of advsim")
    check.add_argument(
        "--estimate",
        metavar="RUN",
        help="say how long each stage of a training run would take, from the times of this run on the same machine",
    )
    check.add_argument("--json", action="store_true", help="print the resolved configuration and the pools as JSON")

    train = _command(commands, "train", "train a user simulator by SFT and adversarial rounds; resumes by itself")
    _config_arguments(train)
    train.add_argument(
        "--allow-changed",
        action="append",
        default=[],
        metavar="KEY",
        help="on resume, accept that this configuration key (or 'corpus') differs from the run's",
    )
    train.add_argument("--json", action="store_true", help="print the metrics of all rounds as JSON at the end")

    submit = _command(
        commands, "submit", "run 'advsim train' or 'advsim sweep' on a Ray cluster as a job", module="cluster.submit"
    )
    _config_arguments(submit)
    submit.add_argument(
        "--address", required=True, help="job address of the cluster's head, for example http://127.0.0.1:8265"
    )
    submit.add_argument("--allow-changed", action="append", default=[], metavar="KEY", help="as of 'advsim train'")
    submit.add_argument(
        "--allow-open-head",
        action="store_true",
        help="send dialogues also to a head that asks nobody for a token: whoever reaches it can read them",
    )
    submit.add_argument("--no-wait", action="store_true", help="return once the job is submitted")

    _serve_arguments(
        _command(
            commands,
            "serve",
            "serve the simulated person of a run as an OpenAI-compatible chat endpoint",
            module="cluster.serve",
            ends="By default (--roles caller) a request's 'assistant' is your chatbot and 'user' the person who "
            "answers here, as in a log of chats; --roles model is for programs that ask any model for its next answer "
            "and call what it said before 'assistant'. The person who leaves is marked: by advsim.ended in the answer, "
            "and by --end-text behind the message. See docs/serve.md.",
        )
    )

    report = _command(commands, "report", "write report/index.html of a run or a sweep and print its table")
    report.add_argument(
        "run_folder",
        metavar="RUN",
        help="folder of a run, for example runs/quickstart, or of a sweep",
    )
    report.add_argument(
        "-o",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="where the run's dialogues lie now, for example -o corpus.path=/data/chats.jsonl",
    )
    report.add_argument("--corpus", metavar="PATH", help=_CORPUS_HELP)
    report.add_argument("--json", action="store_true", help="print the figures as JSON instead of the table")

    verify = _command(commands, "verify", "are the files of a run those that its stages wrote? changes nothing")
    verify.add_argument("run_folder", metavar="RUN", help="run folder, for example runs/quickstart")
    verify.add_argument("--json", action="store_true", help="print each stage and its problems as JSON")

    evaluate = _command(
        commands, "evaluate", "failures of the chatbot, and how its users write, in a run or in dialogue files"
    )
    evaluate.add_argument(
        "targets",
        nargs="*",
        metavar="RUN|CONFIG",
        help="run folder (or give --conversations); and a YAML file with a section 'evaluate', where there is one",
    )
    evaluate.add_argument(
        "-o",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key, for example -o evaluate.judge.model=my-model -o evaluate.judge.base_url=https://host/v1",
    )
    evaluate.add_argument(
        "--conversations", metavar="FILE", help="dialogues: .jsonl, .jsonl.gz or .parquet; no run needed"
    )
    evaluate.add_argument("--reference", metavar="FILE", help="real dialogues to compare the conversations with")
    evaluate.add_argument("--corpus", metavar="PATH", help=_CORPUS_HELP)
    evaluate.add_argument(
        "--out", metavar="FOLDER", help="write metrics.json, failures.parquet and evaluation.html there"
    )
    evaluate.add_argument(
        "--pairs",
        nargs="+",
        default=[],
        metavar="A:B",
        help="evaluate.pairs: chatbots to compare, chosen beforehand, where dialogues name several; default: all with "
        "the baseline",
    )
    evaluate.add_argument(
        "--baseline",
        metavar="NAME",
        help="evaluate.baseline: the chatbot that all others are compared with; default: the first by name",
    )
    evaluate.add_argument(
        "--detector",
        metavar="NAME",
        help="evaluate.detector: combined (default, of the next two and a reader), rules, learned or judge",
    )
    evaluate.add_argument(
        "--taxonomy", metavar="FILE", help="evaluate.taxonomy: YAML that adds failure modes or replaces their texts"
    )
    evaluate.add_argument(
        "--calibration",
        metavar="FILE",
        help="evaluate.calibration: labelled messages, or 'shipped': also give rates without the detector's errors",
    )
    for flag, key in _GONE.items():
        evaluate.add_argument(flag, action=_Gone, key=key)
    evaluate.add_argument("--json", action="store_true", help="print all figures as JSON instead of the tables")

    sweep = _command(
        commands, "sweep", "let simulated users and real prefixes meet several chatbots; resumes by itself"
    )
    _config_arguments(sweep, "override a key, for example -o run=runs/quickstart -o num_conversations=32")
    sweep.add_argument("--json", action="store_true", help="print all figures as JSON instead of the tables")
    sweep.add_argument(
        "--dry-run",
        action="store_true",
        help="say what there is to do, in dialogues, tokens and time; start nothing",
    )

    predict = _command(
        commands,
        "predict",
        "freeze the failure rates and A/B directions that a sweep predicts, under one SHA-256",
        module="predictions.predict",
    )
    _sweep_arguments(predict)
    predict.add_argument("--out", required=True, metavar="FILE", help="where to; a file that is there is not replaced")
    predict.add_argument("--json", action="store_true", help="print the prediction as JSON instead of the tables")

    score = _command(
        commands, "score", "hold a frozen prediction against live logs of its chatbots", module="predictions.score"
    )
    score.add_argument(
        "prediction", metavar="PREDICTION", help="file of 'advsim predict'; one that was edited is refused"
    )
    score.add_argument(
        "logs", nargs="+", metavar="LOGS", help="dialogues (.jsonl, .jsonl.gz, .parquet), each with its key 'chatbot'"
    )
    score.add_argument(
        "--chatbot",
        action="append",
        default=[],
        metavar="NAME",
        help="score this chatbot alone, as others that are predicted were not deployed; may be given several times",
    )
    score.add_argument("--sha256", metavar="SHA256", help="that 'advsim predict' printed; another is refused")
    score.add_argument(
        "-o",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="how the logs are read, for example -o corpus.columns.chatbot=variant",
    )
    score.add_argument("--out", metavar="FOLDER", help="also write score.json and a page, score.html, there")
    score.add_argument("--json", action="store_true", help="print all figures as JSON instead of the tables")

    gate = _command(
        commands,
        "gate",
        "for CI: does a candidate fail more often than a baseline, by more than is allowed",
        module="predictions.gate",
        ends="Exit code 0: not worse; 1: worse; 4: not enough evidence; 2: the input must be changed; 3: files are "
        "damaged; 70: advsim itself failed.",
    )
    _sweep_arguments(gate)
    gate.add_argument("--baseline", required=True, metavar="A", help="a chatbot of the sweep")
    gate.add_argument("--candidate", required=True, metavar="B", help="another, on the same scenarios")
    gate.add_argument(
        "--max-increase",
        required=True,
        type=float,
        metavar="POINTS",
        help="by how many percentage points the candidate may fail more often, for example 2",
    )
    gate.add_argument("--mode", metavar="MODE", help="one failure mode; default: any that the detector measures")
    gate.add_argument("--json", action="store_true", help="print verdict and figures as JSON instead of sentences")

    lab = _command(commands, "lab", "try the estimators on scripted users and chatbots whose truth is known")
    _config_arguments(lab)
    lab.add_argument("--json", action="store_true", help="print the configuration and all figures as JSON")

    bench = _command(commands, "bench", "run a benchmark of speed, memory, delivery or detectors; no name: list them")
    bench.add_argument("name", nargs="?", help="of a file in benchmarks/, for example rollout")
    bench.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        help="of the benchmark, for example runs/quickstart --dialogues 32; --help tells its own",
    )

    detectors = commands.add_parser("detectors", help="look at detectors", description="Look at detectors of failures.")
    detectors_commands = detectors.add_subparsers(required=True, metavar="COMMAND")
    measure = _command(
        detectors_commands,
        "measure",
        "precision, recall and false alarms of detectors on whole labelled dialogues",
        module="detectors",
    )
    measure.set_defaults(work="measure")
    measure.add_argument(
        "--detector",
        action="append",
        metavar="NAME",
        help="combined (default), rules, learned or judge; may be given several times",
    )
    measure.add_argument(
        "--part",
        action="append",
        choices=("train", "build", "tune", "final", "fresh", "pairs"),
        help="train, build: rules and weights were made from them; tune (default): they were chosen by it; final: to "
        "be opened seldom; fresh: later dialogues that nothing was trained with; pairs: as "
        "fresh, short dialogues that end on the same reply, which fails in one and not in the other; may be given "
        "several times; for the judge alone, build and tune are the default",
    )
    measure.add_argument("--save", metavar="FILE", help="keep the findings of one detector, for -o evaluate.worth=FILE")
    measure.add_argument(
        "-o",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for the judge, for example -o evaluate.judge.model=my-model -o evaluate.judge.base_url=https://host/v1",
    )
    measure.add_argument("--json", action="store_true", help="print all figures as JSON instead of the tables")
    train = _command(
        detectors_commands,
        "train",
        "train the learned detector, or the reader, on labelled dialogues and messages",
        module="detectors",
    )
    train.set_defaults(work="train")
    train.add_argument(
        "--out", required=True, metavar="FOLDER", help="for the weights, used by -o evaluate.weights=FOLDER"
    )
    train.add_argument(
        "--reader",
        action="store_true",
        help="train the reader, the language model in the combined detector, used by -o evaluate.reader: more than "
        "two hours on two cores with ESConv, one without",
    )
    train.add_argument(
        "--labelled",
        action="append",
        default=[],
        metavar="FILE",
        help="messages that you labelled (JSON Lines; see advsim/detectors/labelled/README.md), beside those that ship",
    )
    for command in (measure, train):
        command.add_argument(
            "--esconv",
            action="append",
            default=[],
            metavar="FILE",
            help="your copy of ESConv (.jsonl, .jsonl.gz or .parquet): its labels ship, its text may not",
        )

    corpus = commands.add_parser("corpus", help="look at dialogues", description="Look at dialogues.")
    corpus_commands = corpus.add_subparsers(required=True, metavar="COMMAND")
    stats = _command(corpus_commands, "stats", "counts, lengths and typing habits of dialogues", module="corpus")
    stats.add_argument(
        "path",
        nargs="?",
        help="a .jsonl, .jsonl.gz or .parquet file of dialogues, or a YAML config; default: the sample",
    )
    stats.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help=_OVERRIDES_HELP)
    stats.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _command(commands: Any, name: str, text: str, *, module: str = "", ends: str = "") -> argparse.ArgumentParser:
    """A command whose work is done by ``run`` of the module of its name in :mod:`advsim.commands`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=ends
    )
    parser.set_defaults(module=module or name)
    return parser


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="run folder, for example runs/quickstart")
    parser.add_argument(
        "--at",
        default="newest",
        metavar="NAME",
        help="newest (default), sft, round_1, ... or zero_shot, the base model",
    )
    parser.add_argument(
        "--best-of",
        type=int,
        default=1,
        metavar="N",
        help="draw each message N times and send the one that the run's probe finds most like a person's (needs a run "
        "with discriminator.on: prefixes); default: 1",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: a free one")
    parser.add_argument(
        "--replicas", type=int, metavar="N", help="engines; default: resources.simulator.num_replicas of the run"
    )
    parser.add_argument(
        "--api-key-env",
        default="ADVSIM_SERVE_KEY",
        metavar="NAME",
        help="environment variable with the key that callers send; default: ADVSIM_SERVE_KEY; where it is not set a "
        "key is made and shown once",
    )
    parser.add_argument(
        "--roles", choices=("caller", "model"), default="caller", help="who is 'assistant' in a request; see below"
    )
    parser.add_argument(
        "--system",
        choices=("context", "ignore"),
        default="context",
        help="a request's system message says who the person is (default), or is ignored",
    )
    parser.add_argument(
        "--end-text",
        default="",
        metavar="TEXT",
        help="put behind the last message of a person who leaves, for programs "
        "that look for it, for example '###STOP###'",
    )
    parser.add_argument(
        "-o",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the run's configuration, for example -o engine.max_num_seqs=64",
    )
    parser.add_argument("--corpus", metavar="PATH", help=_CORPUS_HELP)


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", metavar="SWEEP", help="folder of a finished sweep, for example runs/quickstart/sweep")
    parser.add_argument(
        "--simulator",
        metavar="NAME",
        help="a simulator of the sweep, or 'replay' for the replies to real prefixes; default: the last simulator",
    )


def _config_arguments(parser: argparse.ArgumentParser, overrides_help: str = _OVERRIDES_HELP) -> None:
    parser.add_argument("config", metavar="CONFIG", help="YAML file; see configs/")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help=overrides_help)


_GONE = {
    "--judge-url": "base_url",
    "--judge-model": "model",
    "--judge-engines": "engines.num_engines",
    "--judge-key-env": "api_key_env",
    "--judge-votes": "num_votes",
    "--judge-scope": "scope",
}
"""Flags of older versions, and the keys of the section ``evaluate.judge`` that say the same."""


class _Parser(argparse.ArgumentParser):
    """Errors quote the arguments, which may hold anything."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class _PrintableFormatter(logging.Formatter):
    """Warnings quote what was read."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


class _Gone(argparse.Action):
    """A flag that is gone: an error that says what to write instead."""

    def __init__(self, option_strings: Sequence[str], dest: str, key: str) -> None:
        super().__init__(option_strings, dest, nargs="?", help=argparse.SUPPRESS)
        self._key = f"evaluate.judge.{key}"

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        shown = "..." if values is None else values
        raise ConfigError(f"{option} is gone: write -o {self._key}={shown}, or {self._key} in a YAML file")


if __name__ == "__main__":
    sys.exit(main())
