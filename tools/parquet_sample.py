#!/usr/bin/env python3
"""Writes tests/data/files/pairs.parquet: rows of our own in the column types that tests/rows/parquet_test.cpp reads.

usage: parquet_sample.py OUT.parquet [MESSAGES.parquet [CONVERSATIONS.parquet]]    (needs pyarrow)

The second file has the layouts of UltraFeedback: messages, and completions with scores. The third has the columns of the
Chatbot Arena's files of 2025, with a decimal and texts as views beside them.
"""
import datetime
import decimal
import sys

import pyarrow
import pyarrow.parquet

ROWS = [
    # id, prompt, response_a, response_b, probabilities of A, B, tie
    (1, ["What is two and two?"], ["Four."], ["Five."], 1, 0, 0),
    (2, ["Say \"hi\".", "Now\nsay\tbye."], ["hi", "bye"], [None, "Tschüß 👋"], 0, 0.25, 0.75),
    (3, ["p"], [None], [None], 1, 0, 0),
    (4, ["same"], ["x"], ["x"], 0, 0, 1),
    (5, [], [""], ["y"], None, 1, 0),
]


def main():
    ids, prompts, a, b, label_a, label_b, label_tie = map(list, zip(*ROWS))
    texts = pyarrow.list_(pyarrow.string())
    table = pyarrow.table({
        "id": pyarrow.array(ids, pyarrow.int64()),
        "unused": pyarrow.array([{"x": 1}] * len(ROWS)),
        "prompt": pyarrow.array(prompts, texts),
        "response_a": pyarrow.array(a, pyarrow.large_list(pyarrow.large_string())),
        "response_b": pyarrow.array(b, texts),
        "winner_model_a": pyarrow.array(label_a, pyarrow.float64()),
        "winner_model_b": pyarrow.array(label_b, pyarrow.float32()),
        "winner_tie": pyarrow.array(label_tie, pyarrow.float64()),
        # The columns of the other format: plain texts, one of them coded by a dictionary.
        "text": pyarrow.array(["[" + str(i) for i in ids], pyarrow.string()),
        "winner": pyarrow.array(["model_a", "model_b", "tie", "tie", "model_a"]).dictionary_encode(),
    })
    pyarrow.parquet.write_table(table, sys.argv[1], row_group_size=2)
    if len(sys.argv) > 2:
        pyarrow.parquet.write_table(messages(), sys.argv[2], row_group_size=1)
    if len(sys.argv) > 3:
        pyarrow.parquet.write_table(conversations(), sys.argv[3], row_group_size=2)


def conversations():
    part = pyarrow.struct([(name, pyarrow.string()) for name in ("type", "text", "image", "mimeType")])
    talk_a = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.list_(part))]))
    talk_b = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.list_(part)),
                                           ("num_tokens", pyarrow.int32())]))

    def text(words):
        return {"type": "text", "text": words}

    def talk(*turns):
        return [{"role": "assistant" if i % 2 else "user", "content": parts} for i, parts in enumerate(turns)]

    image = [text("What is it?"), {"type": "image", "image": "aGk=", "mimeType": "image/png"}]
    time = datetime.datetime(2025, 6, 1, 12, 30)
    return pyarrow.table({
        "id": pyarrow.array(["first", "second", "third"], pyarrow.string_view()),
        "winner": pyarrow.array(["both_bad", "model_a", "model_b"], pyarrow.string_view()),
        "conversation_a": pyarrow.array([talk([text("A question?")], [text("Yes.")], [text("And another?")], [text("No.")]),
                                         talk(image, [text("A hat.")]), talk([text("p")], [text("a")])], talk_a),
        "conversation_b": pyarrow.array([talk([text("A question?")], [text("Perhaps.")], [text("And another?")],
                                              [text("Tschüß \"👋\"")]),
                                         talk(image, [text("A cat.")]), talk([text("p")], [text("b")])], talk_b),
        "timestamp": pyarrow.array([time] * 3, pyarrow.timestamp("us")),
        "price": pyarrow.array([decimal.Decimal("2.50"), decimal.Decimal("1.00"), decimal.Decimal("3.25")],
                               pyarrow.decimal128(10, 2)),
    })


def messages():
    def talk(answer):
        return [{"content": "u", "role": "user"}, {"content": answer, "role": "assistant"}]

    return pyarrow.table({
        "prompt": ["u", "u"],
        "chosen": [talk("a"), talk("c")],
        "rejected": [talk("b \"d\""), talk("d")],
        "score_chosen": [7.5, 3.0],
        "score_rejected": [6.0, 2.0],
        "instruction": ["i", "j"],
        "completions": [[{"response": "x", "overall_score": 2.0}, {"response": "y", "overall_score": 1.0}],
                        [{"response": "z", "overall_score": 5.0}, {"response": "w", "overall_score": None}]],
    })


main()
