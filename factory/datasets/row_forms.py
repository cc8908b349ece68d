"""The forms that training rows go out in and come in as: OpenAI's, Alpaca's, ShareGPT's, CSV."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from factory.errors import InvalidInput
from factory.messages import Json, object_of, objects_in, string_of, text_of

# What a spreadsheet would calculate, and what was quoted for that reason before.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}
NAMES = {"user": "human", "assistant": "gpt"}
COLUMNS = ("id", "split", "provenance", "weight", "system", "prompt", "target")
PROMPT_COLUMNS = ("prompt", "input", "text", "question")
TARGET_COLUMNS = ("target", "output", "answer", "completion", "label")


@dataclass(frozen=True)
class Row:
    """One row: what was asked, what is right, and what was thought right before, where it was."""

    prompt: list[Json]
    target: str
    rejected: str | None = None
    tools: list[Any] | None = None
    about: Mapping[str, object] | None = None  # id, split, provenance, weight: for CSV


class Form(NamedTuple):
    """A form of JSON lines: how people call it, its fields, how it is recognised and read."""

    title: str
    fields: str
    matches: Callable[[Json], bool]
    read: Callable[[Json], Row]


# --- reading --------------------------------------------------------------------------------------
def read_row(line: object) -> Row:
    """Read a parsed line in whichever form it is; `InvalidInput` says why it can be none."""
    if not isinstance(line, dict):
        raise InvalidInput("a line is one JSON object")
    known = next((form for form in FORMS if form.matches(line)), None)
    if known is None:
        raise InvalidInput(f"none of the known forms: {'; '.join(form.title for form in FORMS)}")
    row = known.read(line)
    if not row.prompt:
        raise InvalidInput("nothing is asked: there is no turn before the answer")
    return row


def _turns(value: object, name: str) -> list[Json]:
    turns = objects_in(value)
    if not isinstance(value, list) or len(turns) != len(value):
        raise InvalidInput(f"{name}: a list of turns is needed", param=name)
    if not all(isinstance(turn.get("role"), str) for turn in turns):
        raise InvalidInput(f"{name}: each turn needs a role", param=name)
    return [{key: value for key, value in turn.items() if key != "weight"} for turn in turns]


def _answer(turns: list[Json], name: str) -> str:
    """Return the text of an answer that a student which only writes text can learn."""
    if not turns or turns[-1]["role"] != "assistant":
        raise InvalidInput(f"{name}: the last turn must be the assistant's", param=name)
    if turns[-1].get("tool_calls") or turns[-1].get("function_call"):
        raise InvalidInput("its answer calls a tool, which no student learns here", param=name)
    return text_of(turns[-1].get("content")).strip()


def _read_chat(line: Json) -> Row:
    turns = _turns(line["messages"], "messages")
    target = _answer(turns, "messages")
    if objects_in(line["messages"])[-1].get("weight") == 0:
        raise InvalidInput(
            "its last answer has the weight 0: nothing is to be learnt", param="weight"
        )
    return Row(turns[:-1], target, tools=line.get("tools") or None)


def _read_preference(line: Json) -> Row:
    asked = object_of(line["input"])
    preferred = _answer(_turns(line["preferred_output"], "preferred_output"), "preferred_output")
    other = line.get("non_preferred_output")
    rejected = _answer(_turns(other, "non_preferred_output"), "non_preferred_output")
    prompt = _turns(asked.get("messages"), "input.messages")
    return Row(prompt, preferred, rejected, tools=asked.get("tools") or None)


def _read_pair(line: Json) -> Row:
    chosen, rejected = line["chosen"], line.get("rejected")
    if isinstance(line["prompt"], str):
        prompt = [{"role": "user", "content": line["prompt"]}]
        return Row(prompt, string_of(chosen).strip(), string_of(rejected).strip())
    answer = _answer(_turns(chosen, "chosen"), "chosen")
    other = _answer(_turns(rejected, "rejected"), "rejected")
    return Row(_turns(line["prompt"], "prompt"), answer, other)


def _read_sharegpt(line: Json) -> Row:
    spoken = objects_in(line["conversations"])
    turns = [{"role": _speaker(turn), "content": string_of(turn.get("value"))} for turn in spoken]
    if system := string_of(line.get("system")):
        turns.insert(0, {"role": "system", "content": system})
    target = _answer(turns, "conversations")
    return Row(turns[:-1], target)


def _speaker(turn: Json) -> str:
    name = string_of(turn.get("from"))
    if name in {"function_call", "observation", "tool"}:
        raise InvalidInput("it calls a tool, which no student learns here", param="conversations")
    return SPEAKERS.get(name, name)


def _read_alpaca(line: Json) -> Row:
    if not isinstance(line["output"], str):
        raise InvalidInput("output: a text is needed", param="output")
    instruction, given = string_of(line["instruction"]), string_of(line.get("input"))
    turns = []
    if system := string_of(line.get("system")):
        turns.append({"role": "system", "content": system})
        asked = "\n".join(filter(None, (instruction, given)))
    else:
        asked = given or instruction
        if given and instruction:
            turns.append({"role": "system", "content": instruction})
    pairs = line.get("history")
    for pair in pairs if isinstance(pairs, list) else []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise InvalidInput("history: pairs of a question and an answer", param="history")
        turns.append({"role": "user", "content": string_of(pair[0])})
        turns.append({"role": "assistant", "content": string_of(pair[1])})
    if not asked:
        raise InvalidInput("nothing is asked: instruction and input are empty", param="instruction")
    return Row([*turns, {"role": "user", "content": asked}], line["output"].strip())


FORMS = (
    Form("OpenAI chat", "messages, the last one the assistant's",
         lambda line: "messages" in line, _read_chat),
    Form("OpenAI preferences (DPO)", "input, preferred_output, non_preferred_output",
         lambda line: "input" in line and "preferred_output" in line, _read_preference),
    Form("trl preferences (DPO)", "prompt, chosen, rejected",
         lambda line: "prompt" in line and "chosen" in line, _read_pair),
    Form("ShareGPT", "conversations of from and value",
         lambda line: "conversations" in line, _read_sharegpt),
    Form("Alpaca", "instruction, input, output",
         lambda line: "instruction" in line and "output" in line, _read_alpaca),
)  # fmt: skip


def read_cells(cells: Mapping[str, str]) -> Row:
    """Read one line of a table, by its columns' names."""
    values = {name: unquoted(value or "") for name, value in cells.items() if name}
    asked = next((values[name] for name in PROMPT_COLUMNS if values.get(name)), "")
    target = next((values[name] for name in TARGET_COLUMNS if name in values), None)
    if target is None or not asked:
        raise InvalidInput(f"a table needs the columns {PROMPT_COLUMNS[0]} and {TARGET_COLUMNS[0]}")
    turns = _told(asked) or [{"role": "user", "content": asked}]
    system = values.get("system") or values.get("instruction")
    start = [{"role": "system", "content": system}] if system else []
    return Row([*start, *turns], target.strip())


def _told(text: str) -> list[Json] | None:
    """Return the turns that a cell holds as JSON, None where it is a plain text."""
    try:
        value = json.loads(text) if text.startswith("[") else None
    except ValueError:
        return None
    turns = objects_in(value)
    return turns if turns and all(isinstance(turn.get("role"), str) for turn in turns) else None


# --- writing --------------------------------------------------------------------------------------
def openai_chat(row: Row) -> Json:
    """Return OpenAI's training line: of several answers only the last one is to be learnt."""
    turns = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in row.prompt]
    answer = {"role": "assistant", "content": row.target, "weight": 1}
    return {"messages": [*turns, answer], **({"tools": row.tools} if row.tools else {})}


def openai_preference(row: Row) -> Json:
    """Return OpenAI's preference line; the row must have a rejected answer."""
    asked = {"messages": row.prompt, **({"tools": row.tools} if row.tools else {})}
    return {
        "input": asked,
        "preferred_output": [{"role": "assistant", "content": row.target}],
        "non_preferred_output": [{"role": "assistant", "content": row.rejected}],
    }


def trl_preference(row: Row) -> Json:
    """Return trl's preference line; the row must have a rejected answer."""
    return {
        "prompt": row.prompt,
        "chosen": [{"role": "assistant", "content": row.target}],
        "rejected": [{"role": "assistant", "content": row.rejected}],
    }


def sharegpt(row: Row) -> Json:
    """Return a ShareGPT line."""
    turns = [*row.prompt, {"role": "assistant", "content": row.target}]
    spoken = [
        (NAMES.get(turn["role"], turn["role"]), text_of(turn.get("content"))) for turn in turns
    ]
    return {"conversations": [{"from": name, "value": value} for name, value in spoken]}


def alpaca(row: Row) -> Json:
    """Return an Alpaca line: the system prompt is the instruction, earlier turns are history."""
    system, turns = _parted(row.prompt)
    texts = [text_of(turn.get("content")) for turn in turns]
    *former, asked = texts
    history = [list(pair) for pair in zip(former[::2], former[1::2], strict=False)]
    line: Json = {"instruction": system or asked, "input": asked if system else ""}
    return {**line, "output": row.target, **({"history": history} if history else {})}


def cells(row: Row) -> list[str]:
    """Return a line of a table, each cell safe to open in a spreadsheet."""
    system, turns = _parted(row.prompt)
    asked = text_of(turns[-1].get("content")) if len(turns) == 1 else ""
    if len(turns) != 1 or turns[0]["role"] != "user" or _told(asked) or not asked:
        system, asked = "", json.dumps(row.prompt, ensure_ascii=False)
    about = row.about or {}
    known = [str(about.get(name, "")) for name in ("id", "split", "provenance", "weight")]
    return [quoted(cell) for cell in (*known, system, asked, row.target)]


def _parted(prompt: list[Json]) -> tuple[str, list[Json]]:
    """Return the system prompt, empty where there is none or several, and the other turns."""
    if prompt[0]["role"] in {"system", "developer"} and len(prompt) > 1:
        return text_of(prompt[0].get("content")), prompt[1:]
    return "", prompt


def quoted(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: such a one gets a ' in front."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def unquoted(cell: str) -> str:
    """Take off the ' that `quoted` put in front."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


@dataclass(frozen=True)
class Export:
    """A form to download: its title, its file's ending, how a row is written."""

    title: str
    ending: str
    write: Callable[[Row], Json] | None  # None: a table
    is_pairs: bool = False  # only rows whose former answer a reviewer corrected


EXPORTS = {
    "openai": Export("OpenAI chat", "jsonl", openai_chat),
    "preferences": Export("OpenAI preferences (DPO)", "jsonl", openai_preference, is_pairs=True),
    "trl": Export("trl preferences (DPO)", "jsonl", trl_preference, is_pairs=True),
    "alpaca": Export("Alpaca", "jsonl", alpaca),
    "sharegpt": Export("ShareGPT", "jsonl", sharegpt),
    "csv": Export("CSV", "csv", None),
}
