"""The Python package with the real program: what tests/cli/python_client_test.cpp starts, with a judge and a reward of a tiny model in
JUDGE and REWARD, and the program in GAVEL_PROGRAM."""
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))

import gavel  # noqa: E402
from gavel.program import ProgramNotFound, ServiceFailed  # noqa: E402

PAIRS = [("p", "good", "bad"), {"prompt": ["p", "q"], "response_a": ["a", "b"], "response_b": ["c", "d"], "id": 7}]


class Frame:
    """As much of a DataFrame as the package may rely on."""

    def __init__(self, **columns):
        self.data = columns
        self.columns = list(columns)

    def __getitem__(self, key):
        return self.data[key]

    def assign(self, **columns):
        return Frame(**self.data, **columns)


class JudgeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.judge = gavel.Judge(os.environ["JUDGE"])

    @classmethod
    def tearDownClass(cls):
        cls.judge.close()
        cls.judge.close()  # twice is once

    def test_judges_one_pair(self):
        verdict = self.judge.judge("p", "good", "bad")
        self.assertEqual(set(verdict.probabilities), {"A", "B", "tie"})
        self.assertAlmostEqual(sum(verdict.probabilities.values()), 1, places=5)
        self.assertEqual(verdict.verdict, max(verdict.probabilities, key=verdict.probabilities.get))
        self.assertIsInstance(verdict.agrees, bool)
        self.assertIsNone(verdict.rewards)
        self.assertEqual(self.judge.models(), [os.environ["JUDGE"]])

    def test_judges_many(self):
        verdicts = self.judge.judge_many(PAIRS)
        self.assertEqual([verdict.id for verdict in verdicts], ["1", "7"])
        alone = self.judge.judge("p", "good", "bad")
        for outcome, probability in alone.probabilities.items():
            self.assertAlmostEqual(verdicts[0].probabilities[outcome], probability, places=5)
        rows = [(f"p {i}", "a" * (i % 7 + 1), "b") for i in range(90)]
        many = self.judge.judge_many(iter(rows))
        self.assertEqual(len(many), 90)
        for i in (0, 33, 89):
            self.assertAlmostEqual(many[i].probabilities["A"], self.judge.judge(*rows[i]).probabilities["A"], places=5)
        self.assertEqual(self.judge.judge_many([]), [])

    def test_frames_stay_frames(self):
        frame = Frame(prompt=["p", "q"], response_a=["a", "b"], response_b=["c", "d"], more=[1, 2])
        judged = self.judge.judge_many(frame)
        self.assertEqual(judged["more"], [1, 2])
        self.assertEqual(judged.columns[4:], ["verdict", "probability_a", "probability_b", "probability_tie", "agrees"])
        self.assertAlmostEqual(judged["probability_b"][1], self.judge.judge("q", "b", "d").probabilities["B"], places=5)
        with self.assertRaisesRegex(TypeError, "no column 'response_b'"):
            self.judge.judge_many(Frame(prompt=["p"], response_a=["a"]))

    def test_what_is_wrong_is_named(self):
        for rows, part in (
            ([("p", "a")], "row 0: 2 values"),
            ([("p", "a", "b"), {"prompt": "p"}], "row 1: no key 'response_a'"),
            ([("p", "a", float("nan"))], "row 0, response_b: expected a text"),
            (["pab"], "row 0: expected a dict or a tuple"),
            ([("p", [], "b")], "row 0, response_a"),
        ):
            with self.assertRaisesRegex(TypeError, part):
                self.judge.judge_many(rows)
        with self.assertRaises(TypeError):
            gavel.Judge()
        with self.assertRaises(TypeError):
            gavel.Judge("folder", url="http://127.0.0.1:1")
        with self.assertRaisesRegex(gavel.GavelError, "needs a token|not the right one") as refused:
            gavel.Judge(url=self.judge.url, token="wrong").judge("p", "a", "b")
        self.assertEqual(refused.exception.status, 401)
        self.assertTrue(refused.exception.request_id)
        with self.assertRaises(gavel.GavelError) as absent:
            gavel.Judge(url="http://127.0.0.1:1").judge("p", "a", "b")
        self.assertIsNone(absent.exception.status)

    def test_threads_share_a_service(self):
        with gavel.Judge(url=self.judge.url, token=self.judge.token) as other:
            expected = other.judge("p", "good", "bad").probabilities["A"]
            found = []
            threads = [
                threading.Thread(target=lambda: found.append(other.judge("p", "good", "bad"))) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(len(found), 8)
        for verdict in found:
            self.assertAlmostEqual(verdict.probabilities["A"], expected, places=5)

    def test_a_large_question_is_asked_in_parts(self):
        asked = []
        ask = self.judge._ask

        def limited(method, path, question=None):
            if isinstance(question, list):
                asked.append(len(question))
                if len(question) > 10:
                    raise gavel.GavelError("too large", 413)
            return ask(method, path, question)

        with mock.patch.object(self.judge, "_ask", limited):
            self.assertEqual(len(self.judge.judge_many([("p", "a", "b")] * 20)), 20)
        self.assertEqual(asked, [20, 10, 10])


class RewardTest(unittest.TestCase):
    def test_scores(self):
        with gavel.Reward(os.environ["REWARD"]) as reward, gavel.Judge(url=reward.url, token=reward.token) as judge:
            verdict = judge.judge("p", "good", "bad")
            self.assertAlmostEqual(reward.score("p", "good"), verdict.rewards["A"], places=5)
            scores = reward.score_many([("p", "good"), {"prompt": "p", "response": "bad"}])
            self.assertAlmostEqual(scores[1], verdict.rewards["B"], places=5)
            frame = reward.score_many(Frame(prompt=["p"], response=["good"]))
            self.assertAlmostEqual(frame["reward"][0], verdict.rewards["A"], places=5)
            with self.assertRaisesRegex(TypeError, "expected one text"):
                reward.score_many([(["p", "q"], ["a", "b"])])

    def test_a_judge_has_no_reward(self):
        with gavel.Reward(os.environ["JUDGE"]) as reward:
            with self.assertRaisesRegex(gavel.GavelError, "a judge compares two answers"):
                reward.score("p", "a")


class ProgramTest(unittest.TestCase):
    def test_a_folder_that_is_none_is_told(self):
        with self.assertRaisesRegex(ServiceFailed, "ended with status 1: error: .*nowhere"):
            gavel.Judge("nowhere")

    def test_the_service_goes_with_who_started_it(self):
        code = (
            "import os, sys, gavel\n"
            "judge = gavel.Judge(os.environ['JUDGE'])\n"
            "print(judge._service._process.pid, flush=True)\n"
            "os.kill(os.getpid(), 9)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(gavel.__file__).resolve().parents[1])}
        ended = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        self.assertEqual(ended.returncode, -9)
        process = int(ended.stdout)
        for _ in range(200):
            try:
                state = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                return
            if state == "Z":
                return
            time.sleep(0.05)
        self.fail("gavel serve lives on")

    def test_finds_the_program(self):
        self.assertEqual(gavel.find_program(), os.environ["GAVEL_PROGRAM"])
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "gavel"
            script.write_text("#!/bin/sh\n")
            script.chmod(0o755)
            program = os.environ["GAVEL_PROGRAM"]
            path = f"{folder}{os.pathsep}{os.path.dirname(program)}"
            with mock.patch.dict(os.environ, {"PATH": path, "GAVEL_PROGRAM": ""}):
                self.assertEqual(os.path.realpath(gavel.find_program()), os.path.realpath(program), "a script is passed by")
            with mock.patch.dict(os.environ, {"PATH": folder, "GAVEL_PROGRAM": ""}), self.assertRaises(ProgramNotFound):
                gavel.find_program()
            with mock.patch.dict(os.environ, {"GAVEL_PROGRAM": str(script)}), self.assertRaises(ProgramNotFound):
                gavel.find_program()

    def test_runs_as_a_module(self):
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(gavel.__file__).resolve().parents[1])}
        said = subprocess.run(
            [sys.executable, "-m", "gavel", "--version"], env=environment, stdout=subprocess.PIPE, text=True
        )
        self.assertEqual(said.returncode, 0)
        self.assertRegex(said.stdout, r"^gavel \d")
        wrong = subprocess.run([sys.executable, "-m", "gavel", "no-such"], env=environment, stderr=subprocess.DEVNULL)
        self.assertEqual(wrong.returncode, 2)


if __name__ == "__main__":
    unittest.main()
