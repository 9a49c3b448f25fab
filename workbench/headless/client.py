"""The kernel client of headless runs."""

from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type


class PatientChannel(AsyncZMQSocketChannel):
    """A channel that looks again every second while it waits: a send on the same socket, such as that of an
    ipywidgets.Output, can swallow the wake-up of a message that arrives with it."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # type: ignore[override]
        """The next message; queue.Empty if `timeout` seconds bring none (None: wait)."""
        while timeout is None:
            try:
                return await super().get_msg(timeout=1)
            except Empty:
                continue
        return await super().get_msg(timeout=timeout)


class OutputChannel(AsyncZMQSocketChannel):
    """A channel of outputs that a notebook can hold: a bundle of odd data becomes a sentence, and the run goes on."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # type: ignore[override]
        """The next message; queue.Empty if `timeout` seconds bring none (None: wait)."""
        from nbformat.v4 import new_output

        message: dict[str, Any] = await super().get_msg(timeout=timeout)
        content = message["content"]
        if "data" in content and "metadata" in content:
            try:
                new_output("display_data", content["data"], metadata=content["metadata"])
            except Exception as error:
                sentence = f"an output that a notebook cannot hold: {str(error).partition(chr(10))[0]}"
                content |= {"data": {"text/plain": sentence}, "metadata": {}}
        return message


class PatientClient(AsyncKernelClient):
    """jupyter_client's own client with a patient shell channel and sound outputs."""

    shell_channel_class = Type(PatientChannel)
    iopub_channel_class = Type(OutputChannel)
