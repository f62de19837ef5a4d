"""Carry out runs in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from tenuto.data.synthesis import end_with_parent, uninterrupted
from tenuto.errors import warnings_to
from tenuto.study.stages import Job, Outcome, complete_run

TRIES = 4
"""How often a run is started before the death of its process counts as its failure."""


def in_processes(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """The outcome of every job, as they end. What their processes warn of is warned of here, once.

    A run whose process dies loses the work since its last epoch: another process starts it again from there. All
    processes end with the caller, even where that is killed.
    """
    waiting, tries, texts = deque(jobs), Counter[str](), set[str]()
    busy: dict[Any, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = _Worker()
                busy[worker.pipe] = worker
                worker.give(waiting.popleft(), tries)
            for pipe in multiprocessing.connection.wait(list(busy)):
                worker = busy[pipe]
                outcome = worker.answer()
                if isinstance(outcome, Warning):
                    _warn_once(outcome, texts)
                    continue
                if outcome is None:
                    del busy[pipe]
                    code = worker.end()
                    if tries[worker.job.planned.run] < TRIES:
                        waiting.appendleft(worker.job)
                        continue
                    outcome = Outcome(worker.job.planned.run, error=_died(worker.job, code))
                elif waiting:
                    worker.give(waiting.popleft(), tries)
                else:
                    del busy[pipe]
                    worker.end()
                yield outcome
    finally:
        for worker in busy.values():
            worker.end()


def _warn_once(warning: Warning, texts: set[str]) -> None:
    if str(warning) not in texts:
        texts.add(str(warning))
        warnings.warn(warning, stacklevel=3)


def _died(job: Job, code: int | None) -> str:
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return (
        f"{job.planned.run}: its process died {TRIES} times, the last time by {how}. Signal 9 often means that memory "
        "ran out. Run the same command again with fewer `workers`."
    )


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        # Spawned, not forked: torch's thread pool does not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(target=_serve, args=(child_pipe,), daemon=True)
        with uninterrupted():
            self.process.start()
        child_pipe.close()
        self.job: Job

    def give(self, job: Job, tries: Counter[str]) -> None:
        """Send a job, and count it. A process that has just died is noticed when its answer is read."""
        tries[job.planned.run] += 1
        self.job = job
        try:
            self.pipe.send(job)
        except OSError:
            self.process.join()

    def answer(self) -> Outcome | Warning | None:
        """The outcome of the job or a warning before it, None where the process has died."""
        try:
            answer: Outcome | Warning = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(1)  # so that the exit code is its own
            return None
        return answer

    def end(self) -> int | None:
        """Kill the process; its exit code."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode


def _serve(pipe: Any) -> None:
    """Carry out jobs until the pipe closes. The caller answers signals; when it dies, this process ends at once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        with warnings_to(pipe.send):
            outcome = complete_run(job)
        pipe.send(outcome)
