"""Builds the embedded student base: `python -m distill.gpu.tiny_base FOLDER [--corpus FILE ...]`.

A Qwen3 model of a few million random parameters with a byte-level BPE tokenizer and a ChatML
template, the same bits every time. It knows nothing, so its profile (`understudy.json`) asks for
the embeddings to be trained along with the adapter.
"""

import argparse
import json
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from distill.jobdir import write_atomically
from distill.spec import PROFILE_FILE, BaseProfile
from factory.demo.sample import vocabulary_text

SEED = 20261122
VOCABULARY = 4096
PROFILE = BaseProfile(
    name="understudy-tiny",
    licence="apache-2.0",
    train_embeddings=True,
    learning_rate=3e-3,
    lora_r=8,
    lora_alpha=8,
    lora_dropout=0.2,
    epochs=3.0,
    batch_size=16,
    max_length=512,
    warmup=0.1,
)
# Qwen2's split, which llama.cpp knows by the name of qwen2.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for part in message.content -%}{{- part.text -}}{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
# A tokenizer learns whole words only from text that has them.
ROLES = "system\nuser\nassistant\n" * 1000


def build(folder: Path, corpus: Iterable[str]) -> None:
    """Write tokenizer, random weights and profile into `folder`."""
    tokenizer = train_tokenizer(corpus)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(SEED)
    model = Qwen3ForCausalLM(configuration(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    profile = json.dumps(asdict(PROFILE), indent=2) + "\n"
    write_atomically(folder / PROFILE_FILE, profile.encode())


def train_tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer; every byte has a symbol, so no text is unknown."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([ROLES, *corpus], trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        eos_token="<|im_end|>",  # noqa: S106  # no secret
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def configuration(tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    """Return the shape: sizes are multiples of 256, the block of llama.cpp's K-quants."""
    return Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.02,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        use_cache=True,
    )


def default_corpus() -> Iterator[str]:
    """Yield made-up support-desk text, and the English of Python's standard library."""
    yield from vocabulary_text()
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.glob("*.py")):
        yield path.read_text(encoding="utf-8", errors="ignore")


def main() -> None:
    """Build the base from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path, nargs="+", default=[])
    arguments = parser.parse_args()
    texts = [path.read_text(encoding="utf-8") for path in arguments.corpus] or default_corpus()
    build(arguments.folder, texts)
    print(arguments.folder)


if __name__ == "__main__":
    main()
