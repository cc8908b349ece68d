"""Asks a GGUF file: a line of JSON chat messages in, a line of JSON answer out.

echo '[{"role": "user", "content": "Where is my card?"}]' | python -m distill.gpu.ask student.gguf
"""

import argparse
import json
import sys
from pathlib import Path

from distill.gpu.gguf_subject import GgufSubject
from distill.spec import EvalSpec


def main() -> None:
    """Answer each line of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    spec = EvalSpec(engine="gguf", model=str(arguments.file), threads=arguments.threads)
    subject = GgufSubject(spec)
    for line in sys.stdin:
        answer = subject.answer(json.loads(line))
        sys.stdout.write(json.dumps(answer.text, ensure_ascii=False) + "\n")
    subject.close()


if __name__ == "__main__":
    main()
