"""Runs carried out by several processes of this machine, any of which may die at any moment."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from tenuto.study.stages import Job, Outcome, complete_run

TRIES = 4
"""How often a run is begun before a process that dies with it counts as the run's failure."""


def in_processes(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Every job's outcome, as they end.

    A process that dies takes nothing along but its run's work since the last epoch: another one is started and the run
    begun again where it stopped. All processes end with the caller, even where that is killed.
    """
    waiting, tries = deque(jobs), dict.fromkeys((job.planned.run for job in jobs), 0)
    at_work: dict[Any, _Worker] = {}
    try:
        while waiting or at_work:
            while waiting and len(at_work) < workers:
                worker = _Worker()
                at_work[worker.pipe] = worker
                _give(worker, waiting.popleft(), tries)
            for pipe in multiprocessing.connection.wait(list(at_work)):
                worker = at_work[pipe]
                outcome = worker.answer()
                if outcome is None:
                    del at_work[pipe]
                    code = worker.end()
                    if tries[worker.job.planned.run] < TRIES:
                        waiting.appendleft(worker.job)
                        continue
                    outcome = Outcome(worker.job.planned.run, error=_died(worker.job, code))
                elif waiting:
                    _give(worker, waiting.popleft(), tries)
                else:
                    del at_work[pipe]
                    worker.end()
                yield outcome
    finally:
        for worker in at_work.values():
            worker.end()


def _give(worker: _Worker, job: Job, tries: dict[str, int]) -> None:
    tries[job.planned.run] += 1
    worker.give(job)


def _died(job: Job, code: int | None) -> str:
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return (
        f"{job.planned.run}: its process died {TRIES} times, the last time by {how}; with signal 9 often for want of "
        "memory. Run the same command again with fewer --workers."
    )


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        # Spawned, not forked: torch's thread pool does not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job

    def give(self, job: Job) -> None:
        """Hand over a job; a process that has just died is noticed when its answer is asked for."""
        self.job = job
        try:
            self.pipe.send(job)
        except OSError:
            self.process.join()

    def answer(self) -> Outcome | None:
        """The outcome of the job, None where the process has died."""
        try:
            outcome: Outcome = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(1)  # so that the exit code is its own
            return None
        return outcome

    def end(self) -> int | None:
        """End the process, whatever it does; its exit code."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode


def _serve(pipe: Any) -> None:
    """Carry out jobs until the pipe closes. Ctrl-C is the caller's to answer; its death ends this process at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(complete_run(job))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
