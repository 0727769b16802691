"""How engines end when nobody closes them, or when somebody loses patience."""

import psutil

from tests.library.programs import run


def test_an_engine_that_is_forgotten_warns_and_leaves_no_process() -> None:
    ended = run("""
engine = Engine("pomona-tiny", settings=SETTINGS).__enter__()
before = children()
assert before, "no engine process"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    del engine
    gc.collect()
print([each.category.__name__ for each in caught], "was not closed" in str(caught[0].message), gone(before))
""")
    assert ended.stdout.strip() == "['ResourceWarning'] True True", ended.stderr


def test_a_program_may_end_without_closing() -> None:
    ended = run("""
engine = Engine("pomona-tiny", settings=SETTINGS)
engine.start()
events = engine.stream_chat("Count.", max_tokens=900, ignore_eos=True)
next(events)
print(children()[0].pid)
""")
    assert ended.returncode == 0, ended.stderr
    assert not psutil.pid_exists(int(ended.stdout))
    assert "Traceback" not in ended.stderr


def test_an_event_loop_may_end_without_closing() -> None:
    ended = run("""
import asyncio
async def main():
    engine = AsyncEngine("pomona-tiny", settings=SETTINGS)
    await engine.start()
    return engine, children()
engine, before = asyncio.run(main())
print(bool(before), gone(before))
""")
    assert ended.stdout.strip() == "True True", ended.stderr


def test_a_fork_says_what_it_cannot_do_and_takes_nothing_with_it() -> None:
    ended = run("""
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    with Engine("pomona-tiny", settings=SETTINGS) as engine:
        child = os.fork()
        if child == 0:
            try:
                engine.chat("Hi")
            except Conflict as error:
                print("fork of it" in str(error), flush=True)
            engine.close()
            del engine
            gc.collect()
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        print(engine.chat("Hi", max_tokens=2, temperature=0, ignore_eos=True).usage.completion_tokens)
""")
    assert ended.stdout.split() == ["True", "7", "2"], ended.stderr


def test_interrupting_a_stream_or_an_answer_ends_its_work_and_nothing_else() -> None:
    ended = run("""
def interrupt_when_started(events):
    for event in events:
        if event.name == "generation:started":
            os.killpg(os.getpgrp(), signal.SIGINT)  # as a terminal does
            return

signal.signal(signal.SIGINT, signal.default_int_handler)
with Engine("pomona-tiny", settings=SETTINGS) as engine:
    for ask in (lambda: engine.chat("Count.", max_tokens=900, ignore_eos=True),
                lambda: list(engine.stream_chat("Count.", max_tokens=900, ignore_eos=True))):
        with engine.events() as events:
            thread = threading.Thread(target=interrupt_when_started, args=(events,))
            thread.start()
            try:
                ask()
            except KeyboardInterrupt:
                print("interrupted", engine.stats().running)
            thread.join()
    print(engine.chat("Hi", max_tokens=2, ignore_eos=True).usage.completion_tokens)
""")
    assert ended.stdout.split("\n")[:3] == ["interrupted ()", "interrupted ()", "2"], ended.stderr
    assert "Traceback" not in ended.stderr


def test_closing_ends_what_other_threads_wait_for() -> None:
    ended = run("""
engine = Engine("pomona-tiny", settings=SETTINGS)
engine.start()
said, begun = [], threading.Barrier(7)

def ask(number):
    begun.wait()
    try:
        while True:
            engine.chat("Count.", max_tokens=900, ignore_eos=True) if number % 2 else engine.tokenize("Count.")
    except (Cancelled, Conflict) as error:
        said.append(type(error).__name__)

threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
for thread in threads:
    thread.start()
before = children()
with engine.events() as events:
    begun.wait()
    next(event for event in events if event.name == "generation:started")
engine.close()
for thread in threads:
    thread.join(20)
print(len(said), set(said) <= {"Cancelled", "Conflict"}, gone(before))
""")
    assert ended.stdout.strip() == "6 True True", ended.stderr
