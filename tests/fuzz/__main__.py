"""``python -m tests.fuzz --cases 10000 --seed 0 [--write PAGE.md]``: change arguments, and count what becomes of it.

The cases run in one process of bounded memory, which another watches: if it dies or stops, that is counted, and it goes on behind the case.
Exits with 1 if anything hung, crashed, gave numbers that are not finite, or took nonsense, or if more than 1% raised what they should not.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import subprocess
import sys
from collections import Counter
from pathlib import Path

from .case import SECONDS, Verdict
from .table import Tally, page, verdict_of

MEMORY = 8 * 2**30
"""Bytes of address space that the cases may have."""


def work(first: int, last: int, seed: int) -> None:
    """Run cases, and say of each in a line what became of it."""
    import torch

    from .case import judge
    from .subjects import cases

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps(["ready"]), flush=True)
    for number, kind, case in cases(first, last, seed):
        print(json.dumps(["case", number, kind, case.what, case.change]), flush=True)
        verdict = judge(case)
        print(json.dumps(["verdict", verdict.name, verdict.said]), flush=True)


def watch(cases: int, seed: int, tally: Tally) -> None:
    """Run all cases in processes that are watched, one after the other."""
    first = 0
    while first < cases:
        command = [sys.executable, "-m", "tests.fuzz", "--seed", str(seed), "--work", str(first), str(cases)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            assert process.stdout is not None
            first = _follow(process, first, tally)


def _follow(process: subprocess.Popen[str], first: int, tally: Tally) -> int:
    """Read what a process says until it ends; the number of the case to go on with."""
    assert process.stdout is not None
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    running: list[str] | None = None
    number, ready = first, False
    while True:
        if not selector.select(10 * SECONDS if ready else 300):
            process.kill()
            verdict = Verdict("hang", "in compiled code")
            break
        line = process.stdout.readline()
        if not line:
            verdict = Verdict("crash", f"exit status {process.wait()}")
            break
        message = json.loads(line)
        ready = True
        if message[0] == "case":
            number, running = message[1], message[2:]
        elif message[0] == "verdict" and running is not None:
            kind, what, change = running
            tally.add(kind, what, change, Verdict(*message[1:]))
            running = None
            number += 1
    if running is not None:
        kind, what, change = running
        tally.add(kind, what, change, verdict)
        return number + 1
    if process.wait():
        raise SystemExit(f"the process that runs the cases ended with {process.returncode} before case {number}")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Change arguments, and count what becomes of it."
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", metavar="PAGE.md", type=Path, help="the page whose table is written anew")
    parser.add_argument("--work", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        first, last = options.work
        work(first, last, options.seed)
        return 0
    tally = Tally(Counter(), {})
    watch(options.cases, options.seed, tally)
    print(tally.report())
    if options.write is not None:
        options.write.write_text(page(options.write.read_text(), tally, options.cases, options.seed))
    return int(not verdict_of(tally))


if __name__ == "__main__":
    sys.exit(main())
