"""Fuzz the readers with Atheris: ``python tests/fuzz/run.py TARGET,...|all [-runs=N] [-max_total_time=SECONDS] ...``.

Each target runs in a process of its own, from its valid files and ``build/fuzz/TARGET``, where what reached new code is
kept for the next time. An input that is a finding is left in ``build/fuzz/crashes``, and ``python tests/fuzz/run.py
TARGET FILE`` gives it to the reader again. The other words are libFuzzer's; a slow target takes a share of ``-runs``.
The environment variable FUZZ_BUILD names another folder than ``build/fuzz``. Exit code 1: there was a finding.
"""

import hashlib
import logging
import os
import sys
import time
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
BUILD = Path(os.environ.get("FUZZ_BUILD", ROOT / "build" / "fuzz"))
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "suite")]
os.environ.setdefault("TRITON_INTERPRET", "1")

with atheris.instrument_imports(include=["lra_hgrn", "lra_tasks"], enable_loader_override=False):
    import targets


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one reader in this process, which ends with it."""
    share = targets.TARGETS[name].share
    options = [f"-runs={int(share * int(word[6:]))}" if word.startswith("-runs=") else word for word in options]
    corpus, crashes = BUILD / name, BUILD / "crashes"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in targets.TARGETS[name].seeds():
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    words = BUILD / "words.dict"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in targets.WORDS))
    usual = [
        f"-artifact_prefix={crashes / name}-",
        f"-dict={words}",
        "-max_len=65536",
        "-timeout=60",
        "-rss_limit_mb=4096",
    ]
    files = [word for word in options if not word.startswith("-")]
    atheris.Setup(
        [sys.argv[0], *usual, *options, *([] if files else [str(corpus)])], lambda data: targets.hold(name, data)
    )
    atheris.Fuzz()


def main(words: str, *options: str) -> int:
    """Fuzz some targets or all, each in a child of this process; return the exit code."""
    names = list(targets.TARGETS) if words == "all" else words.split(",")
    if not set(names) <= set(targets.TARGETS):
        print(f"There is no target {words!r}; there are all, {', '.join(targets.TARGETS)}.", file=sys.stderr)
        return 2
    logging.disable(logging.WARNING)
    found = []
    for target in names:
        begun, child = time.monotonic(), os.fork()
        if child == 0:
            fuzz(target, list(options))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"{target}: {'nothing found' if not status else f'FOUND, exit code {status}'}, ", end="")
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
        found += [target] if status else []
    print(f"{len(names) - len(found)} of {len(names)} targets held" + (f"; inputs in {BUILD}/crashes" if found else ""))
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
