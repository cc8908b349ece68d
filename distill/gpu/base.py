"""A base model's files, a folder or a hub id alike, and its tokenizer."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from distill.jobdir import InputError

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "LICENSE*", "README.md"]


def locate(base_model: str, revision: str) -> Path:
    """Return the folder with a base's files, downloading a hub id (safetensors only)."""
    folder = Path(base_model)
    if folder.is_dir():
        return folder
    if base_model.startswith(("/", ".")):
        raise InputError(f"the base model folder {base_model} does not exist")
    try:
        snapshot = snapshot_download(base_model, revision=revision or None, allow_patterns=_WANTED)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise InputError(f"the base model {base_model} cannot be had: {error}") from error
    return Path(snapshot)


def commit_of(folder: Path) -> str:
    """Return the hub commit a folder is a snapshot of, or nothing for an ordinary folder."""
    return folder.name if folder.parent.name == "snapshots" else ""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer; `InputError` if it has no chat template."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False
    )
    if not tokenizer.chat_template:
        raise InputError("the base model has no chat template: choose an instruct (chat) model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
