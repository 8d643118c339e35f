"""stillframe server image create"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from stillframe.cli import show
from stillframe.cli.base import Guarded, say
from stillframe.cli.text import byte_count, key_value


class ServerImageCreate(Guarded, show.ShowCapture):
    """Save a server as an image while it runs."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The server, the image's name, and how it is to be done."""
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="Name or id.")
        parser.add_argument("--name", required=True, help="The image's name.")
        parser.add_argument(
            "--property",
            dest="properties",
            metavar="KEY=VALUE",
            type=key_value,
            action="append",
            default=[],
            help="A property of the image; may be given several times.",
        )
        _add_wishes(parser)
        parser.add_argument("--wait", action="store_true", help="Show the progress and wait for the end.")
        show.add_timeout(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """The capture's record: as it is after the request, with --wait as it is in the end."""
        client = self.client()
        server_id = client.server(parsed_args.server)["id"]
        properties = dict(parsed_args.properties)
        wishes = wishes_of(parsed_args)
        if wishes:
            request = {"server_id": server_id, "name": parsed_args.name, "metadata": properties, **wishes}
            capture_id = client.create_capture(request)
        else:
            capture_id = client.create_image(server_id, parsed_args.name, properties)
        if not parsed_args.wait:
            return self.dict2columns(show.fields(client.capture(capture_id)))
        say(f"Capture {capture_id} of server {parsed_args.server} as '{parsed_args.name}'")
        return self.waited(client, capture_id, parsed_args.timeout)


def wishes_of(args: argparse.Namespace) -> dict[str, Any]:
    """What was wished for beyond Nova's createImage, in the API's words; empty: nothing."""
    wishes: dict[str, Any] = {
        "disks": "all" if args.all_disks else args.disks,
        "format": args.disk_format,
        "quiesce": args.quiesce,
        "trim": args.trim,
        "cold": args.cold,
        "bandwidth": args.bandwidth,
    }
    return {name: value for name, value in wishes.items() if value}


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    wishes = parser.add_argument_group("wishes", "beyond what Nova's createImage knows")
    disks = wishes.add_mutually_exclusive_group()
    disks.add_argument(
        "--disk",
        dest="disks",
        metavar="TARGET",
        action="append",
        help="A disk by its name in the guest (vda); several times: all at one instant, one image each. "
        "Default: the root disk.",
    )
    disks.add_argument("--all-disks", action="store_true", help="Every disk at one instant, one image each.")
    wishes.add_argument(
        "--disk-format",
        choices=["raw", "qcow2"],
        help="The image's format. Default: [capture] snapshot_image_format, else the disk's.",
    )
    wishes.add_argument("--quiesce", action="store_true", help="Fail if the guest's filesystems cannot be frozen.")
    wishes.add_argument("--trim", action="store_true", help="Run fstrim in the guest first: a smaller image.")
    wishes.add_argument("--cold", action="store_true", help="Pause the guest for the whole copy.")
    wishes.add_argument(
        "--bandwidth",
        metavar="BYTES",
        type=byte_count,
        help="Read no more than this in a second: 1048576, 512k, 50M, 1G.",
    )
