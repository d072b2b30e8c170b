#!/usr/bin/env python3
"""Asks `gavel serve` through the client libraries of the services whose forms it speaks: openai (/v1/models), cohere (/v1/rerank),
requests (/v1/classify of vLLM and SGLang, /predict of text-embeddings-inference, /get_reward of RL trainers), and Gavel's own. Each
has to take the answer for its own service's.

Python with openai, cohere and requests; they are no part of Gavel.
usage: try_clients.py --judge FOLDER --reward FOLDER   (the program is found as python/gavel finds it)
"""
import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import cohere
import openai
import requests

from gavel import Judge, Reward
from gavel.program import Service

PAIR = {"prompt": "Tell me about the moon.", "response_a": "The moon goes around the earth.", "response_b": "Bread is made of flour."}


def check(what, right, found):
    print(f"{'ok   ' if right else 'WRONG'} {what}: {str(found)[:110]}")
    return right


def try_models(service):
    models = openai.OpenAI(base_url=service.url + "/v1", api_key=service.token).models.list().data
    yield check("openai, /v1/models", len(models) == 1 and models[0].object == "model", models)
    try:
        openai.OpenAI(base_url=service.url + "/v1", api_key="wrong", max_retries=0).models.list()
        yield check("openai, a wrong key", False, "no error")
    except openai.AuthenticationError as error:
        yield check("openai, a wrong key", error.body is not None and "message" in error.body, error)


def try_judge(service, pair_text):
    yield from try_models(service)
    headers = {"Authorization": "Bearer " + service.token}
    answer = requests.post(service.url + "/v1/classify", json={"model": "judge", "input": [pair_text]}, headers=headers).json()
    yield check("requests, /v1/classify", answer["data"][0]["label"] in ("A", "B", "tie") and
                abs(sum(answer["data"][0]["probs"]) - 1) < 1e-3 and answer["usage"]["prompt_tokens"] > 0, answer)
    # huggingface_hub's client expects what its own service gives, a list in a list; text-embeddings-inference gives a list.
    labels = requests.post(service.url + "/predict", json={"inputs": pair_text}, headers=headers).json()
    yield check("requests, /predict", {label["label"] for label in labels} == {"A", "B", "tie"}, labels)


def try_reward(service):
    yield from try_models(service)
    client = cohere.Client(api_key=service.token, base_url=service.url)
    ranked = client.rerank(model="reward", query=PAIR["prompt"], documents=[PAIR["response_b"], PAIR["response_a"]], top_n=2).results
    yield check("cohere, /v1/rerank", sorted(result.index for result in ranked) == [0, 1] and
                ranked[0].relevance_score >= ranked[1].relevance_score, ranked)
    answer = requests.post(service.url + "/get_reward", headers={"Authorization": "Bearer " + service.token},
                           json={"prompt": PAIR["prompt"], "response": PAIR["response_a"]}).json()
    yield check("requests, /get_reward", isinstance(answer.get("reward", answer.get("rewards")), (int, float, list)), answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--reward", required=True)
    parser.add_argument("--pair-text", default="<start_of_prompt>Tell me about the moon.<response_a>It goes around.<response_b>Bread.",
                        help="a pair written out as the judge reads it")
    given = parser.parse_args()
    right = []
    for folder, questions in ((given.judge, lambda service: try_judge(service, given.pair_text)), (given.reward, try_reward)):
        service = Service(folder, [], 600)
        try:
            right += questions(service)
        finally:
            service.close()
    with Judge(given.judge) as judge:
        verdict = judge.judge(PAIR["prompt"], PAIR["response_a"], PAIR["response_b"])
        right.append(check("gavel, Judge", verdict.verdict in ("A", "B", "tie"), verdict))
    with Reward(given.reward) as reward:
        score = reward.score(PAIR["prompt"], PAIR["response_a"])
        right.append(check("gavel, Reward", isinstance(score, float), score))
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
