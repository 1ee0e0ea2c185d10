"""An application as fal's documentation writes them: nothing in it says where fal is. test_ways.py runs it.

Prints what came as JSON; the argument is the face of the client: sync or async."""

import asyncio
import json
import sys

import fal_client

APP = "fal-ai/any-llm"


def ask(nonce):
    return {"prompt": f"What is the meaning of life? nonce:{nonce}"}


def blocking():
    states = []
    handle = fal_client.submit(APP, arguments=ask("submit"))
    fal_client.submit(APP, arguments=ask("cancel") | {"model": "test/silent"}).cancel()
    result = fal_client.subscribe(APP, arguments=ask("subscribe"), with_logs=True, on_queue_update=states.append)
    return {
        "run": fal_client.run(APP, arguments=ask("run")),
        "submit": fal_client.result(APP, handle.request_id),
        "status": repr(fal_client.status(APP, handle.request_id)),
        "urls": [handle.response_url, handle.status_url, handle.cancel_url],
        "subscribe": result,
        "last": repr(states[-1]),
        "stream": list(fal_client.stream(APP, arguments=ask("stream")))[-1],
    }


async def coroutines():
    states = []
    handle = await fal_client.submit_async(APP, arguments=ask("submit"))
    await (await fal_client.submit_async(APP, arguments=ask("cancel") | {"model": "test/silent"})).cancel()
    result = await fal_client.subscribe_async(
        APP, arguments=ask("subscribe"), with_logs=True, on_queue_update=states.append
    )
    return {
        "run": await fal_client.run_async(APP, arguments=ask("run")),
        "submit": await fal_client.result_async(APP, handle.request_id),
        "status": repr(await fal_client.status_async(APP, handle.request_id)),
        "urls": [handle.response_url, handle.status_url, handle.cancel_url],
        "subscribe": result,
        "last": repr(states[-1]),
        "stream": [event async for event in fal_client.stream_async(APP, arguments=ask("stream"))][-1],
    }


if __name__ == "__main__":
    print(json.dumps(blocking() if sys.argv[1] == "sync" else asyncio.run(coroutines())))
