"""Commands that kill themselves before or after the n-th step that changes names or flushes a file.

A server process imports what commands need and forks for each of them, so that a run takes a fraction of a second.
Steps are patched in the child: the package has no hook for tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = """
import fcntl, json, os, resource, signal, sys
import numpy, onnx, openvino, PIL.Image
import wideresnet.cli.main as main
import wideresnet.engines.openvino, wideresnet.engines.features, wideresnet.graph.outputs, wideresnet.tasks.load.load
from wideresnet.output import atomic
try:
    import pyarrow.parquet
except ImportError:
    pass

STEPS = ("replace", "rename", "fsync", "unlink", "remove", "rmdir", "mkdir", "link")
count = 0

def counted(step, job):
    def call(*arguments, **options):
        global count
        count += 1
        if count == job["step"] and not job["after"]:
            os.kill(os.getpid(), signal.SIGKILL)
        number = count
        try:
            return step(*arguments, **options)
        finally:
            if number == job["step"]:
                os.kill(os.getpid(), signal.SIGKILL)
    return call

def work(job, pipe):
    os.chdir(job["folder"])
    os.dup2(pipe, 1)                               # no file: those may be limited
    os.dup2(pipe, 2)
    if not job["exchange"]:
        atomic.exchange = lambda first, second: False
    if job["step"]:
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name), job))
        atomic.exchange = counted(atomic.exchange, job)
    if job["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"],) * 2)
    sys.argv = ["wrn", *job["arguments"]]
    code = 1
    try:
        main.run()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

for line in sys.stdin:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 2**20)        # so that nobody has to read while the command runs
    os.write(writing, b" ")
    child = os.fork()
    if not child:
        work(json.loads(line), writing)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, os.read(reading, 2**20).decode()[1:]]), flush=True)
    os.close(reading)
    os.close(writing)
"""


@dataclass
class CrashServer:
    """A process that runs commands, see the module."""

    process: subprocess.Popen[str]
    output: str = ""                               # of the last command

    def run(
        self, folder: Path, *arguments: str, step: int = 0, after: bool = False, exchange: bool = True,
        limit: int | None = None,
    ) -> int:  # fmt: skip
        """Run ``wrn`` in ``folder`` and return its exit code, -9 if it was killed at ``step`` (0: not at all).

        ``exchange`` False: as where two names cannot be exchanged in one step. ``limit`` is the size in bytes that no
        file may exceed.
        """
        job: dict[str, Any] = {
            "folder": str(folder), "arguments": arguments, "step": step, "after": after, "exchange": exchange,
            "limit": limit,
        }  # fmt: skip
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(job), file=self.process.stdin, flush=True)
        code, self.output = json.loads(self.process.stdout.readline())
        return int(code)


@contextmanager
def crash_server(folder: Path) -> Iterator[CrashServer]:
    """Yield a server; its cache is in ``folder``."""
    environment = {**os.environ, "WRN_OFFLINE": "1", "WRN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield CrashServer(process)
        assert process.stdin
        process.stdin.close()
