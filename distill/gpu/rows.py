"""Chat rows as token ids: the prompt as the student will meet it, and the answer it should give."""

from collections.abc import Iterable, Mapping
from typing import Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from distill.chat import clean_messages
from distill.jobdir import Json

IGNORED = -100


class ChatEncoder:
    """Renders and tokenizes chats with a base's own template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.items()
        control = {number: str(token) for number, token in added if token.special}
        self.special_tokens = sorted({*tokenizer.all_special_tokens, *control.values()})
        self._special_ids = {*tokenizer.all_special_ids, *control}
        question = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
        self.end_of_turn = self.prompt_and_answer_ids(question)[1][-1]

    def prompt_ids(self, prompt: Iterable[Mapping[str, object]]) -> list[int]:
        """Return the ids of a prompt, up to the point where the answer begins."""
        return self._ids(self._render(clean_messages(prompt, self.special_tokens), prompt=True))

    def prompt_and_answer_ids(
        self, messages: Iterable[Mapping[str, object]]
    ) -> tuple[list[int], list[int]]:
        """Return the ids of the prompt, and of the answer up to the token that ends the turn.

        Both are tokenized apart, as at inference. What a template writes after the end of the
        turn (ChatML: a newline) is not trained, for nobody will ever ask the student for it.
        """
        cleaned = clean_messages(messages, self.special_tokens)
        prompt = self._render(cleaned[:-1], prompt=True)
        whole = self._render(cleaned, prompt=False)
        fallback = f"{cleaned[-1]['content']}{self.tokenizer.eos_token}"
        answer = whole[len(prompt) :] if whole.startswith(prompt) else fallback
        return self._ids(prompt), self._up_to_end_of_turn(self._ids(answer))

    def training_rows(self, rows: Iterable[Json], max_length: int) -> list[dict[str, list[int]]]:
        """Return `input_ids` and `labels` of the rows that fit; labels cover only the answer."""
        encoded = []
        for row in rows:
            messages: Any = row["messages"]
            prompt, answer = self.prompt_and_answer_ids(messages)
            if len(prompt) + len(answer) <= max_length:
                labels = [IGNORED] * len(prompt) + answer
                encoded.append({"input_ids": prompt + answer, "labels": labels})
        return encoded

    def _render(self, messages: list[dict[str, Any]], *, prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt
            )
        )

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _up_to_end_of_turn(self, answer: list[int]) -> list[int]:
        ends = [place for place, token in enumerate(answer) if token in self._special_ids]
        if not ends:
            return [*answer, self.tokenizer.eos_token_id]
        return answer[: ends[-1] + 1]
