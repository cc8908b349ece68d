"""Training rows in the forms of other trainers: written, read again, refused with a reason."""

import csv
import gzip
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.datasets.row_forms import (
    COLUMNS,
    EXPORTS,
    Row,
    alpaca,
    cells,
    openai_chat,
    openai_preference,
    quoted,
    read_cells,
    read_row,
    sharegpt,
    trl_preference,
    unquoted,
)
from factory.errors import InvalidInput
from factory.formats.example_rows import Reading, readings_of
from factory.redaction.redact import Policy

NOTHING = Policy(kinds=frozenset())
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(
    lambda text: text == text.strip()
)
turns = st.lists(
    st.builds(lambda role, text: {"role": role, "content": text}, st.just("user"), words),
    min_size=1,
    max_size=1,
)
prompts = st.builds(
    lambda system, asked: [*system, *asked],
    st.lists(words.map(lambda text: {"role": "system", "content": text}), max_size=1),
    turns,
)
talks = st.builds(
    lambda start, pairs, asked: [*start, *(turn for pair in pairs for turn in pair), *asked],
    st.lists(words.map(lambda text: {"role": "system", "content": text}), max_size=1),
    st.lists(
        st.tuples(
            words.map(lambda text: {"role": "user", "content": text}),
            words.map(lambda text: {"role": "assistant", "content": text}),
        ),
        max_size=2,
    ),
    turns,
)


def read(data: bytes, policy: Policy = NOTHING, limit: int = 10**7) -> list[Reading]:
    return list(readings_of([data], policy, limit))


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


# --- there and back -------------------------------------------------------------------------------
@pytest.mark.parametrize("write", [openai_chat, sharegpt, alpaca])
@given(prompt=talks, target=words)
def test_a_row_comes_back_as_it_went_out(write: Any, prompt: list[Any], target: str) -> None:
    back = read_row(json.loads(json.dumps(write(Row(prompt, target)))))
    assert (back.prompt, back.target) == (prompt, target)


@pytest.mark.parametrize("write", [openai_preference, trl_preference])
@given(prompt=talks, target=words, rejected=words)
def test_a_pair_comes_back_with_what_was_rejected(
    write: Any, prompt: list[Any], target: str, rejected: str
) -> None:
    back = read_row(write(Row(prompt, target, rejected)))
    assert (back.prompt, back.target, back.rejected) == (prompt, target, rejected)


@given(st.lists(st.tuples(prompts | talks, words), max_size=5))
def test_a_table_comes_back_cell_by_cell(rows: list[tuple[list[Any], str]]) -> None:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    table.writerows(cells(Row(prompt, target)) for prompt, target in rows)
    found = read(text.getvalue().encode())
    assert [(one.prompt, one.target, one.refused) for one in found] == [
        (prompt, target, "") for prompt, target in rows
    ]


@given(st.text())
def test_no_cell_is_a_formula_and_none_is_changed_for_good(cell: str) -> None:
    assert not quoted(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unquoted(quoted(cell)) == cell


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=x", "''-"])
def test_what_a_spreadsheet_would_calculate_is_quoted(cell: str) -> None:
    assert quoted(cell) == f"'{cell}"


def test_of_several_answers_only_the_last_is_to_be_learnt() -> None:
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    tools = [{"type": "function", "function": {"name": "look"}}]
    made = openai_chat(Row(talk, "d", tools=tools))
    assert [turn.get("weight") for turn in made["messages"]] == [None, 0, None, 1]
    assert made["tools"] == tools
    assert set(EXPORTS) == {"openai", "preferences", "trl", "alpaca", "sharegpt", "csv"}


# --- reading --------------------------------------------------------------------------------------
ASKED = {"role": "user", "content": "q"}
SAID = {"role": "assistant", "content": " a "}


@pytest.mark.parametrize(
    ("value", "prompt"),
    [
        ({"messages": [ASKED, SAID]}, [ASKED]),
        ({"messages": [ASKED, {**SAID, "weight": 1}], "tools": []}, [ASKED]),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, [ASKED]),
        ({"prompt": [ASKED], "chosen": [SAID], "rejected": [SAID]}, [ASKED]),
        ({"instruction": "q", "input": "", "output": "a"}, [ASKED]),
        ({"instruction": "s", "input": "q", "output": "a"},
         [{"role": "system", "content": "s"}, ASKED]),
        ({"instruction": "do", "input": "q", "output": "a", "system": "s"},
         [{"role": "system", "content": "s"}, {"role": "user", "content": "do\nq"}]),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
          "system": "s"}, [{"role": "system", "content": "s"}, ASKED]),
    ],
)  # fmt: skip
def test_each_form_is_recognised_by_its_fields(value: Any, prompt: list[Any]) -> None:
    row = read_row(value)
    assert (row.prompt, row.target) == (prompt, "a")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "one JSON object"),
        ({"question": "q"}, "none of the known forms"),
        ({"messages": [ASKED]}, "the last turn must be the assistant's"),
        ({"messages": [SAID]}, "nothing is asked"),
        ({"messages": "q"}, "a list of turns"),
        ({"messages": [ASKED, {"content": "a"}]}, "each turn needs a role"),
        ({"messages": [ASKED, {**SAID, "weight": 0}]}, "weight 0"),
        ({"messages": [ASKED, {**SAID, "tool_calls": [{}]}]}, "calls a tool"),
        ({"conversations": [{"from": "human", "value": "q"},
                            {"from": "function_call", "value": "{}"}]}, "calls a tool"),
        ({"instruction": "", "input": "", "output": "a"}, "nothing is asked"),
        ({"instruction": "q", "output": None}, "output"),
        ({"instruction": "q", "output": "a", "history": [["only a question"]]}, "history"),
        ({"input": {}, "preferred_output": [SAID]}, "non_preferred_output"),
    ],
)  # fmt: skip
def test_a_line_that_teaches_nothing_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read_row(value)


def test_bad_lines_are_refused_one_by_one_and_the_rest_comes_in() -> None:
    good = {"messages": [ASKED, SAID]}
    found = read(line(good) + b"{broken\n" + b"\n" + line({"messages": []}) + line(good))
    assert [(one.number, bool(one.refused)) for one in found] == [
        (1, False), (2, True), (4, True), (5, False),
    ]  # fmt: skip


def test_files_may_be_gzip_arrays_and_tables() -> None:
    rows = [{"instruction": "q", "output": "a"}, {"messages": [ASKED, SAID]}]
    packed = gzip.compress(json.dumps(rows).encode())
    assert [(one.prompt, one.target) for one in read(packed)] == [([ASKED], "a")] * 2
    table = b'\xef\xbb\xbfInput,Label\r\nq,a\r\n"two\nlines",\'=a\r\n'
    found = read(table)
    assert [(one.prompt[0]["content"], one.target) for one in found] == [
        ("q", "a"), ("two\nlines", "=a"),
    ]  # fmt: skip


def test_a_table_without_its_columns_is_refused_and_a_short_line_alone() -> None:
    with pytest.raises(InvalidInput, match="first line names its columns"):
        read(b"a,b\n1,2\n")
    found = read(b"prompt,target\nq\nq,a\n")
    assert [one.refused for one in found] == ["1 cells in a table of 2 columns", ""]
    with pytest.raises(InvalidInput, match="columns prompt"):
        read_cells({"prompt": "", "target": "a"})


def test_rows_are_redacted_as_they_are_read_the_same_in_prompt_and_answer() -> None:
    row = {"messages": [{"role": "user", "content": "I am anna@example.org"},
                        {"role": "assistant", "content": "Hello anna@example.org"}]}  # fmt: skip
    found = read(line(row), Policy())[0]
    assert found.prompt[0]["content"] == "I am [EMAIL_1]"
    assert found.target == "Hello [EMAIL_1]"


def test_tools_that_no_example_can_keep_are_told_of() -> None:
    found = read(line({"messages": [ASKED, SAID], "tools": [{"type": "function"}]}))
    assert found[0].without_tools
