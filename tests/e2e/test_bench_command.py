"""``bench URL`` against a real service."""

import re
import subprocess
import sys

from tests.service_environment import service_environment
from tests.service_process import service

BENCH = (sys.executable, "-m", "entrypoints.cli", "bench")


def test_a_quick_look_tells_of_each_number_of_callers() -> None:
    token = "a-token-to-measure-with"
    with service(LLM_BACKEND="scripted", LLM_AUTH_TOKENS=token) as running:
        refused = bench(running.url)
        done = bench(f"{running.url}/", "--callers=1,3", "--seconds=0.5", LLM_BENCH_TOKEN=token)

    assert refused.returncode == 78
    assert "refused this service's own credentials" in refused.stderr
    assert done.returncode == 0, done.stderr
    head, one, three = done.stdout.splitlines()[:3]
    assert head.split()[:2] == ["callers", "answers/s"]
    assert (one.split()[0], three.split()[0]) == ("1", "3")
    assert float(one.split()[2]) > 0
    assert one.split()[-1] == three.split()[-1] == "0"
    assert len(re.findall(r"█+ \d+", done.stdout)) == 2
    assert "3 callers" in done.stderr
    assert token not in done.stdout + done.stderr


def test_what_cannot_be_measured_is_one_message() -> None:
    for arguments, words in (
        (("ftp://127.0.0.1",), "no http URL"),
        (("http://127.0.0.1:9",), "cannot be reached"),
        (("http://127.0.0.1:9", "--callers=0"), "--callers 0"),
    ):
        done = bench(*arguments)
        assert done.returncode == 78
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def bench(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=service_environment(settings),
    )
