"""A WebSocket server that echoes (`server`, prints its port), and a client that holds it to that (`client PORT`)."""

import asyncio
import sys

import websockets

LARGE = 1 << 20


async def echo(socket, *_):
    async for message in socket:
        await socket.send(message)


async def serve():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=4 * LARGE) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


async def talk(port):
    async with websockets.connect(f"ws://127.0.0.1:{port}/chat", max_size=4 * LARGE) as socket:
        for message in ["hello", "", "\u00fc" * 1000, b"\x00\xff" * (LARGE // 2)]:
            await socket.send(message)
            assert await socket.recv() == message, "another message came back"
        await (await socket.ping(b"are you there?"))
        for number in range(1000):
            await socket.send(str(number))
        for number in range(1000):
            assert await socket.recv() == str(number), "messages out of order"
        await socket.close(1000, "done")
        assert socket.close_code == 1000, socket.close_code
    print("ok")


asyncio.run(serve() if sys.argv[1] == "server" else asyncio.wait_for(talk(int(sys.argv[2])), 30))
