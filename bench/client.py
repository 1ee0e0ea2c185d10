"""As client_c.c, with fal's Python client (asynchronous): client.py CALLS CONNECTIONS."""

import asyncio
import os
import resource
import sys
import time

import fal_client.client as module

module.RUN_URL_FORMAT = os.environ["FAL_BASE_URL"] + "/run/"
CALLS, AT_ONCE = (int(n) for n in sys.argv[1:3])
INPUT = {"model": "openai/gpt-4o-mini", "prompt": "What is the meaning of life?"}


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main():
    client = module.AsyncClient(key=os.environ["FAL_KEY"])
    failed = 0
    left = CALLS

    async def one():
        nonlocal failed
        answer = await client.run("fal-ai/any-llm", INPUT)
        failed += not isinstance(answer.get("output"), str)

    async def worker():
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    await one()
    print("answered", flush=True)
    if CALLS > 0:
        began, used = time.monotonic(), cpu()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        seconds, used = time.monotonic() - began, cpu() - used
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"per_second={CALLS / seconds:.0f} cpu_us={used / CALLS * 1e6:.1f} rss_kb={rss} failed={failed}")
    return 1 if failed else 0


sys.exit(asyncio.run(main()))
