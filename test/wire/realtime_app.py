"""A realtime application as fal's documentation writes them: nothing in it says where fal is. test_realtime.py runs it.

Prints what came as JSON; the argument is the face of the client: sync or async."""

import asyncio
import json
import sys

import fal_client

APP = "fal-ai/any-llm"


def ask(nonce):
    return {"prompt": f"nonce:{nonce} What is the meaning of life?"}


def whole(connection):
    while (output := connection.recv()) and output["partial"]:
        pass
    return output


async def whole_async(connection):
    while (output := await connection.recv()) and output["partial"]:
        pass
    return output


def frames(ws, message):
    ws.send(json.dumps(message))
    got = [ws.recv()]
    while json.loads(got[-1]).get("type") != "end":
        got.append(ws.recv())
    return [json.loads(f) for f in got]


async def frames_async(ws, message):
    await ws.send(json.dumps(message))
    got = [await ws.recv()]
    while json.loads(got[-1]).get("type") != "end":
        got.append(await ws.recv())
    return [json.loads(f) for f in got]


def blocking():
    out = {}
    for name, options in {"token": {"max_buffering": 60}, "key": {"use_jwt": False}}.items():
        with fal_client.realtime(APP, **options) as connection:
            for i in range(2):
                connection.send(ask(f"{name}{i}"))
            out[name] = [whole(connection) for i in range(2)]
    with fal_client.ws_connect(APP) as ws:
        out["ws_connect"] = frames(ws, ask("ws"))
    with fal_client.ws_connect(APP, path="/stream", use_jwt=False) as ws:
        ws.send(json.dumps(ask("stream")))
        out["ws_stream"] = []
        while '"type":"end"' not in (frame := ws.recv()):
            out["ws_stream"].append(frame)
    return out


async def coroutines():
    out = {}
    for name, options in {"token": {"max_buffering": 60}, "key": {"use_jwt": False}}.items():
        async with fal_client.realtime_async(APP, **options) as connection:
            for i in range(2):
                await connection.send(ask(f"{name}{i}"))
            out[name] = [await whole_async(connection) for i in range(2)]
    async with fal_client.ws_connect_async(APP) as ws:
        out["ws_connect"] = await frames_async(ws, ask("ws"))
    async with fal_client.ws_connect_async(APP, path="/stream", use_jwt=False) as ws:
        await ws.send(json.dumps(ask("stream")))
        out["ws_stream"] = []
        while '"type":"end"' not in (frame := await ws.recv()):
            out["ws_stream"].append(frame)
    return out


if __name__ == "__main__":
    print(json.dumps(blocking() if sys.argv[1] == "sync" else asyncio.run(coroutines())))
