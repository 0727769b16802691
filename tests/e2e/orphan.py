"""A gateway to be killed: starts an engine, prints its process id, and reads an endless answer."""

import asyncio

from tests.e2e.engines import ENDLESS, prompt, started


async def main() -> None:
    async with started() as client:
        print(client.pid, flush=True)
        async for _ in client.stream(prompt(max_tokens=ENDLESS)):
            pass


if __name__ == "__main__":
    asyncio.run(main())
