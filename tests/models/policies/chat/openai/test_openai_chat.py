"""The chat model over real HTTP, against a server that fails in every way a server can."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ChatFailed
from agent.language.chat import Call, Conversation, Message
from agent.protocol.vocabulary import TOOLS
from models.errors import HostNotAllowed, LanguageMisconfigured
from models.policies.chat.openai.attempts import LONGEST_REPLY_BYTES, retry_after_s
from models.policies.chat.openai.openai_chat import OpenAiChat
from models.runtime.resources import LanguageOptions
from tests.models.policies.chat.openai.conftest import FakeClock

Build = Callable[..., Any]


def ask(chat: OpenAiChat, *conversations: Conversation) -> list[str]:
    """The texts of the answers."""
    answers = chat.answer(conversations, temperature=0.0, max_new_tokens=64)
    return [answer.text for answer in answers]


def test_a_question_is_answered(
    serve: Build, connect: Build, completion: Build, question: Conversation
) -> None:
    server = serve(completion("A box."))
    chat = connect(server, price_per_million_input=2.0, price_per_million_output=10.0)

    (answer,) = chat.answer([question], temperature=0.7, max_new_tokens=99)

    assert answer.text == "A box."
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1000, 20)
    assert answer.usage.cost == pytest.approx(0.0022)
    assert answer.usage.model == "served"
    (heard,) = server.heard
    assert heard.path == "/v1/chat/completions"
    assert "Authorization" not in heard.headers
    assert (heard.body["model"], heard.body["temperature"], heard.body["max_tokens"]) == (
        "medsam-agent",
        0.7,
        99,
    )


def test_native_calls_arrive_as_calls(
    serve: Build, connect: Build, completion: Build, question: Conversation
) -> None:
    function = {"name": "stop_action", "arguments": "{}"}
    server = serve(completion(None, tool_calls=[{"id": "1", "function": function}]))

    (answer,) = connect(server).answer(
        [Conversation(question.messages, TOOLS)], temperature=0.0, max_new_tokens=9
    )

    assert answer.text == ""
    assert answer.calls == (Call("stop_action", "{}"),)
    assert len(server.heard[0].body["tools"]) == 4


def test_a_reply_cut_at_its_longest_is_an_answer(
    serve: Build, connect: Build, completion: Build, question: Conversation
) -> None:
    server = serve(completion("<tool_call>{", finish_reason="length"))

    assert ask(connect(server), question) == ["<tool_call>{"]


def test_a_batch_is_asked_in_parallel_up_to_the_limit_and_answered_in_order(
    serve: Build, connect: Build, completion: Build
) -> None:
    together = threading.Barrier(3, timeout=20)

    def script(heard: Any) -> Any:
        return completion(heard.body["messages"][0]["content"])

    server = serve(script)
    say = server._say

    def say_together(*arguments: Any) -> None:
        together.wait()  # goes on only if three are asked at once
        say(*arguments)

    server._say = say_together
    words = [f"target {number}" for number in range(12)]

    answers = ask(
        connect(server, concurrency=3), *(Conversation((Message("user", (w,)),)) for w in words)
    )

    assert answers == words
    assert server.most_at_once == 3


def test_callers_on_many_threads_share_the_limit(
    serve: Build, connect: Build, completion: Build, question: Conversation
) -> None:
    server = serve(completion("ok"))
    chat = connect(server, concurrency=2)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(chat, question), range(16)))

    assert answers == [["ok"]] * 16
    assert server.most_at_once <= 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_a_passing_fault_is_tried_again(
    serve: Build,
    connect: Build,
    completion: Build,
    refused: Build,
    clock: FakeClock,
    question: Conversation,
    status: int,
) -> None:
    server = serve(refused(status), refused(status), completion("ok"))

    assert ask(connect(server), question) == ["ok"]
    assert clock.slept == [0.5, 1.0]  # doubling, here without the part left to chance


@pytest.mark.parametrize(("said", "wait_s"), [("7", 7.0), ("0", 0.5), ("soon", 0.5), ("-3", 0.5)])
def test_a_server_is_not_asked_before_it_wants_to_be(
    serve: Build,
    connect: Build,
    completion: Build,
    refused: Build,
    clock: FakeClock,
    question: Conversation,
    said: str,
    wait_s: float,
) -> None:
    server = serve(refused(429, Retry_After=said), completion("ok"))

    assert ask(connect(server), question) == ["ok"]
    assert clock.slept == [wait_s]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),  # 1,700,000,030 s since 1970
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),  # that was before
        ("120", 120.0),
        ("9" * 400, 999_999_999.0),
        ("", None),
        ("Tue, 99 Nov", None),
        ("\u0663", 3.0),  # a digit all the same
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str, seconds: float | None) -> None:
    assert retry_after_s(said, 1_700_000_000.0) == seconds


def test_a_wait_beyond_the_deadline_is_not_waited(
    serve: Build, connect: Build, refused: Build, clock: FakeClock, question: Conversation
) -> None:
    server = serve(refused(429, Retry_After="3600"))

    with pytest.raises(ChatFailed, match="given up after 60 s"):
        ask(connect(server, timeout_s=20, attempts=3), question)

    assert clock.slept == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_what_will_not_pass_is_not_tried_again(
    serve: Build, connect: Build, refused: Build, question: Conversation, status: int
) -> None:
    server = serve(refused(status, "because"))

    with pytest.raises(ChatFailed, match=f"at {server.host} answered {status}"):
        ask(connect(server), question)

    assert len(server.heard) == 1


def test_the_last_fault_is_named_when_all_attempts_are_spent(
    serve: Build, connect: Build, refused: Build, question: Conversation
) -> None:
    server = serve(refused(503, "the model is loading"))

    with pytest.raises(ChatFailed) as failed:
        ask(connect(server, attempts=3), question)

    assert str(failed.value) == (
        f"the language model at {server.host} answered 503 Service Unavailable: "
        "the model is loading; tried 3 times (language.attempts)"
    )
    assert len(server.heard) == 3


def test_a_server_that_stalls_is_given_up_on(
    serve: Build, connect: Build, said: Build, completion: Build, question: Conversation
) -> None:
    server = serve(said(status=0, linger_s=60), completion("ok"))

    assert ask(connect(server, timeout_s=0.3, attempts=2), question) == ["ok"]


def test_a_trickle_counts_as_a_stall(
    serve: Build, connect: Build, said: Build, question: Conversation
) -> None:
    server = serve(said(b" " * 10_000, chunk_bytes=1, linger_s=0.02))

    with pytest.raises(ChatFailed, match=r"no whole answer within 0\.3 s"):
        ask(connect(server, timeout_s=0.3, attempts=1), question)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 0}, "broke off"),
        ({"body": b'{"choices": [', "cut": 5}, "broke off"),  # fewer bytes than announced
        ({"body": b'{"choices": [{"mess'}, "it is no whole JSON"),
        ({"body": b'{"choices": []}'}, "it holds no choices"),
        ({"body": b""}, "it is no whole JSON"),
        ({"body": b"<html>", "headers": {"Content-Type": "text/html; charset=x"}}, "'text/html'"),
        ({"body": b"{}", "headers": {}}, "not with JSON"),
        ({"body": b"zz", "headers": {"Content-Encoding": "gzip"}}, "broke off"),
    ],
    ids=["no status", "cut", "truncated", "no choices", "nothing", "page", "no type", "no gzip"],
)
def test_a_broken_answer_is_asked_for_again(
    serve: Build,
    connect: Build,
    said: Build,
    completion: Build,
    question: Conversation,
    fault: dict[str, Any],
    words: str,
) -> None:
    mended, broken = serve(said(**fault), completion("ok")), serve(said(**fault))

    assert ask(connect(mended), question) == ["ok"]
    with pytest.raises(ChatFailed, match=words):
        ask(connect(broken), question)


def test_a_huge_answer_is_not_read_to_its_end(
    serve: Build, connect: Build, completion: Build, question: Conversation
) -> None:
    server = serve(completion("x" * (LONGEST_REPLY_BYTES + 1)))

    with pytest.raises(ChatFailed, match=f"more than {LONGEST_REPLY_BYTES} bytes"):
        ask(connect(server), question)

    assert len(server.heard) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    serve: Build,
    connect: Build,
    said: Build,
    completion: Build,
    question: Conversation,
    status: int,
) -> None:
    elsewhere = serve(completion("stolen"))
    server = serve(said(status=status, headers={"Location": f"{elsewhere.url}/secret"}))

    with pytest.raises(ChatFailed, match=r"redirects to 127\.0\.0\.1.*language\.endpoints") as no:
        ask(connect(server, allowed_hosts=("127.0.0.1",)), question)

    assert "secret" not in str(no.value)
    assert elsewhere.heard == []


def test_a_redirect_without_a_place_is_a_fault(
    serve: Build, connect: Build, said: Build, question: Conversation
) -> None:
    with pytest.raises(ChatFailed, match="redirects to nowhere"):
        ask(connect(serve(said(status=302, headers={}))), question)


def test_a_server_that_nobody_allowed_is_never_connected(
    serve: Build, connect: Build, completion: Build
) -> None:
    server = serve(completion("ok"))

    with pytest.raises(HostNotAllowed) as refused:
        connect(server, allowed_hosts=())

    assert f'language.allowed_hosts = ["{server.host}"]' in str(refused.value)
    assert server.heard == []


def test_one_forbidden_endpoint_forbids_all(
    serve: Build, connect: Build, completion: Build
) -> None:
    one, two = serve(completion()), serve(completion())

    with pytest.raises(HostNotAllowed):
        connect(one, two, allowed_hosts=(one.host,))


def test_no_proxy_of_the_environment_is_used(
    serve: Build,
    connect: Build,
    completion: Build,
    question: Conversation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, server = serve(completion("through the proxy")), serve(completion("direct"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{proxy.host}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert ask(connect(server), question) == ["direct"]
    assert proxy.heard == []


def question_number(number: int) -> Conversation:
    """Another episode's first question."""
    return Conversation((Message("system", ("rules",)), Message("user", (f"image {number}",))))


def test_episodes_go_round_the_servers(serve: Build, connect: Build, completion: Build) -> None:
    servers = [serve(completion("ok")) for _ in range(3)]
    chat = connect(*servers)

    for number in range(6):
        ask(chat, question_number(number))

    assert [len(server.heard) for server in servers] == [2, 2, 2]


def test_an_episode_stays_with_the_server_that_has_read_it(
    serve: Build, connect: Build, completion: Build, refused: Build, clock: FakeClock
) -> None:
    ill = serve(completion("1"), completion("2"), refused(500), completion("3"))
    chat, other = connect(ill, server := serve(completion("other"))), question_number(1)
    turns = (Message("assistant", ("A box.",)), Message("user", ("next",)))
    episode = question_number(0)
    longer = Conversation((*episode.messages, *turns))

    answers = [
        ask(chat, each)[0] for each in (episode, other, longer)
    ]  # the second turn again there
    moved = [ask(chat, longer)[0] for _ in range(2)]
    clock.seconds += 31.0  # well again: but by now the other one has read it
    answers += [ask(chat, longer)[0]]

    assert answers == ["1", "other", "2", "other"]
    assert moved == ["other", "other"]
    assert len(server.heard) == 4


def test_a_server_that_fails_is_replaced_at_once_and_left_alone_for_a_while(
    serve: Build,
    connect: Build,
    completion: Build,
    refused: Build,
    clock: FakeClock,
    question: Conversation,
) -> None:
    ill, well = serve(refused(500), completion("again")), serve(completion("well"))
    chat = connect(ill, well)

    answers = [ask(chat, question_number(number))[0] for number in range(3)]
    waited = list(clock.slept)
    clock.seconds += 31.0
    answers += [ask(chat, question_number(number))[0] for number in range(3, 5)]

    assert answers[:3] == ["well"] * 3
    assert waited == [0.0]  # nobody waits while another server may be asked
    assert sorted(answers[3:]) == ["again", "well"]


def test_a_server_that_is_not_there_is_replaced(
    serve: Build, connect: Build, completion: Build, question: Conversation
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"127.0.0.1:{taken.getsockname()[1]}"
    server = serve(completion("ok"))
    endpoints = (f"http://{gone}/v1", server.url)

    chat = connect(endpoints=endpoints, allowed_hosts=("127.0.0.1",))

    assert ask(chat, question) == ["ok"]


def test_when_all_fail_the_error_names_the_last(
    serve: Build, connect: Build, refused: Build, question: Conversation
) -> None:
    one, two = serve(refused(500)), serve(refused(502))

    with pytest.raises(ChatFailed, match="tried 4 times"):
        ask(connect(one, two, attempts=4), question)

    assert (len(one.heard), len(two.heard)) == (2, 2)


def test_a_newer_name_of_a_parameter_is_learnt_once(
    serve: Build,
    connect: Build,
    completion: Build,
    refused: Build,
    clock: FakeClock,
    question: Conversation,
) -> None:
    def script(heard: Any) -> Any:
        if "max_tokens" in heard.body:
            return refused(400, "Unsupported 'max_tokens': use 'max_completion_tokens' instead.")
        if "temperature" in heard.body:
            return refused(400, "Unsupported value: 'temperature'")
        return completion("ok")

    server = serve(script)
    chat = connect(server, attempts=1, concurrency=4)

    assert ask(chat, *[question] * 4) == ["ok"] * 4
    assert ask(chat, question) == ["ok"]
    assert server.heard[-1].body["max_completion_tokens"] == 64
    assert clock.slept == []


def test_a_server_without_tools_is_named_with_its_setting(
    serve: Build, connect: Build, refused: Build, question: Conversation
) -> None:
    server = serve(refused(400, '"auto" tool choice requires --enable-auto-tool-choice'))

    with pytest.raises(ChatFailed, match=r"language\.native_tools = false"):
        ask(connect(server), question)


def test_a_key_goes_to_the_server_and_nowhere_else(
    serve: Build,
    connect: Build,
    completion: Build,
    refused: Build,
    question: Conversation,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    key = tmp_path / "key"
    key.write_text("sk-very-secret-0123456789\n")
    server = serve(
        completion("ok"), refused(401, "Incorrect API key provided: sk-very-secret-0123456789")
    )
    chat = connect(server, api_key_file=key)

    ask(chat, question)
    with pytest.raises(ChatFailed, match=r"401.*language\.api_key_file") as failed:
        ask(chat, question)

    assert server.heard[0].headers["Authorization"] == "Bearer sk-very-secret-0123456789"
    assert "very-secret" not in str(failed.value)
    assert "very-secret" not in caplog.text


@pytest.mark.parametrize("text", ["", " \n", "two words", "two\nlines", "sch\u00f6n", "\x00"])
def test_a_file_that_holds_no_key_is_refused_without_repeating_it(
    serve: Build, connect: Build, completion: Build, tmp_path: Path, text: str
) -> None:
    key = tmp_path / "key"
    key.write_text(text, encoding="utf-8")

    with pytest.raises(LanguageMisconfigured, match=r"language\.api_key_file") as refused:
        connect(serve(completion()), api_key_file=key)

    assert "two" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"endpoints": ()}, "language.endpoints"),
        ({"model": ""}, "language.model"),
        ({"api_key_file": Path("/no/such/file")}, "language.api_key_file"),
        ({"endpoints": ("gpu:8000",)}, "language.endpoints"),
    ],
)
def test_options_that_cannot_work_name_the_setting(options: dict[str, Any], key: str) -> None:
    settled = {"model": "m", "endpoints": ("http://a/v1",), "allowed_hosts": ("a",)} | options

    with pytest.raises(LanguageMisconfigured, match=key):
        OpenAiChat(LanguageOptions(**settled))


def test_the_log_tells_where_and_how_much_and_never_what(
    serve: Build,
    connect: Build,
    completion: Build,
    refused: Build,
    question: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    echoed = json.dumps({"image_url": "data:image/png;base64," + "iVBORw0KGgo" * 40})
    server = serve(refused(500, echoed), completion("It is the liver of Doe."))

    ask(connect(server), question)

    ours = [each for each in caplog.records if each.name.startswith("models.")]
    audit = f"asking the language model at {server.host}: 1 pictures"
    assert [each.getMessage() for each in ours].count(audit) == 2
    assert "iVBORw0KGgoiVBORw0KGgo" not in caplog.text
    assert "liver" not in caplog.text
    assert "Doe" not in caplog.text


def test_one_failure_ends_the_batch(
    serve: Build, connect: Build, completion: Build, refused: Build
) -> None:
    def script(heard: Any) -> Any:
        said = heard.body["messages"][0]["content"]
        return refused(404, "no such model") if said == "bad" else completion(said)

    chat = connect(serve(script))
    batch = [Conversation((Message("user", (word,)),)) for word in ("a", "bad", "b")]

    with pytest.raises(ChatFailed, match="no such model"):
        ask(chat, *batch)

    assert ask(chat, batch[0]) == ["a"]  # and the next batch is asked as ever
