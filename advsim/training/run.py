"""One training run: opens the run folder, starts Ray and the pools, runs the rounds."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from advsim.config import Config
from advsim.corpus.load import Corpus
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.rollout.pool import RolloutPool
from advsim.run_folder.events import record_event
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.layout import LOGS, MANIFEST, TOO_LONG
from advsim.run_folder.lease import lease
from advsim.run_folder.reader import Run
from advsim.runtime.metrics import WorkMetrics
from advsim.runtime.placement import pool_requests, running_ray
from advsim.runtime.progress import Reporter
from advsim.runtime.trace import Trace
from advsim.training.check import check_corpus, check_prefixes
from advsim.training.discriminator.pool import ScorerPool
from advsim.training.fitting import fit_corpus
from advsim.training.held_out import HeldOut
from advsim.training.learner.workers import Workers
from advsim.training.manifest import check_unchanged, manifest
from advsim.training.rounds import Training


def run_training(
    config: Config, corpus: Corpus, *, allow_changed: Sequence[str] = (), reporter: Reporter | None = None
) -> Run:
    """Train, or resume; see :func:`advsim.train`.

    Args:
        config: the run's.
        corpus: its dialogues.
        allow_changed: keys that may differ from those the run was started with.
        reporter: shows progress.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    reporter = reporter or Reporter(file=sys.stderr)
    check_corpus(corpus)
    check_prefixes(config, corpus)
    run = RunDir(config.run_path)
    if not run.is_local:
        run.check_writable(key="output_dir")
    with lease(run):
        run.sweep()
        _train(run, config, corpus, allow_changed=allow_changed, reporter=reporter)
    return Run(run)


def _train(run: RunDir, config: Config, corpus: Corpus, *, allow_changed: Sequence[str], reporter: Reporter) -> None:
    base = resolve_model(config.model)
    if run.exists(MANIFEST):
        check_unchanged(run, config, corpus, base, allow_changed=allow_changed)
        reporter.message(f"resuming {config.run_path}")
    prompts = SimulatorPrompts(
        load_tokenizer(base), instructions=config.prompt.instructions, budget_tokens=config.prompt_budget_tokens
    )
    fitted = fit_corpus(corpus, prompts, too_long=config.corpus.too_long)
    corpus = fitted.corpus
    if fitted.dropped or fitted.cut:
        check_corpus(corpus)
        check_prefixes(config, corpus)
        run.write_json(TOO_LONG, {"dropped": list(fitted.dropped), "cut": list(fitted.cut)})
        reporter.message(
            f"dialogues too long for a prompt: {len(fitted.dropped)} left out, {len(fitted.cut)} cut; see {TOO_LONG}"
        )
    if not run.exists(MANIFEST):
        run.write_json(
            MANIFEST, manifest(config, corpus, base, num_dropped=len(fitted.dropped), num_cut=len(fitted.cut))
        )

    def notice(said: str) -> None:
        reporter.warning(said)
        record_event(run, said)

    trace = Trace()
    with ExitStack() as stack:
        stack.callback(_write_trace, run, trace)
        with trace.span("Ray starts"):
            pools = stack.enter_context(running_ray(config))
        trace.also = WorkMetrics()
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="advsim-logs-"))
        log_dir = run.path / LOGS if run.is_local else Path(scratch)
        learner = next(request for request in pool_requests(config) if request.pool == "learner")
        kept_logs = str(log_dir) if run.is_local else ""
        rollouts = RolloutPool(config, pools, log_dir=kept_logs, notice=notice, trace=trace)
        stack.callback(rollouts.close)
        scorers = ScorerPool(config, pools, log_dir=kept_logs, notice=notice, trace=trace)
        # The learner asks for its place anew each time: now is when to learn that there is none.
        pools.place(learner)
        pools.release("learner")
        Training(
            config=config,
            run=run,
            journal=Journal(run),
            corpus=corpus,
            prompts=prompts,
            rollouts=rollouts,
            scorers=scorers,
            held_out=HeldOut(config, corpus, run),
            reporter=reporter,
            workers=Workers(
                config=config.resources.learner,
                log_dir=log_dir,
                max_restarts=config.resources.max_restarts,
                notice=notice,
            ),
            trace=trace,
        ).train_all()


def _write_trace(run: RunDir, trace: Trace) -> None:
    """Each process of a run that was resumed leaves a trace of its own."""
    run.write_json(
        f"{LOGS}/trace-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(trace.started_s))}.json", trace.as_json()
    )
