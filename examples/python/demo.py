"""What the demonstrations of the other languages do, too."""

from fal_cffi import Fal, FalError

APP = "fal-ai/any-llm"


def show(status):
    print("state:", status.state)
    for line in status.new_logs:
        print("log:", line)


with Fal() as fal:
    print("run:", fal.run(APP, {"prompt": "What is the capital of France?"})["output"])

    answer = fal.subscribe(APP, {"prompt": "What is the meaning of life?"}, logs=True,
                           on_enqueue=lambda id: print("id:", id), on_queue_update=show)
    print("subscribe:", answer["output"])

    for event in fal.stream(APP, {"prompt": "Say hello."}):
        print("stream:", event["output"])

    try:
        fal.run(APP, {"prompt": "Why?", "model": "no/such"})
    except FalError as e:
        print("error:", e.http_status, e.error_type, e.message)
