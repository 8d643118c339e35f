"""stillframe image list | show | save | delete"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from stillframe.cli.base import Guarded, each, say
from stillframe.cli.text import Lines, Plain, Size, human_bytes

ATTRIBUTES = (
    "id", "name", "status", "visibility", "owner", "disk_format", "container_format", "size", "virtual_size",
    "os_hash_algo", "os_hash_value", "min_disk", "min_ram", "created_at", "updated_at",
)  # fmt: skip
HIDDEN = ("protected", "os_hidden", "checksum", "tags", "self", "file", "schema")
SIZES = ("size", "virtual_size")


class ImageList(Guarded, Lister):
    """List images, newest first; also those that are being made."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", help="Only images of this name.")
        parser.add_argument("--status", choices=["queued", "saving", "active"], help="Only images of this status.")
        parser.add_argument("--server", metavar="SERVER", help="Only images of this server, by name or id.")
        parser.add_argument("--limit", type=int, default=0, help="At most so many; default: all.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Column names and rows."""
        client = self.client()
        server_id = client.server(parsed_args.server)["id"] if parsed_args.server else None
        images = client.images(
            parsed_args.limit, name=parsed_args.name, status=parsed_args.status, instance_uuid=server_id
        )
        return ("ID", "Name", "Status", "Format", "Size", "Created At"), (_row(image) for image in images)


class ImageShow(Guarded, ShowOne):
    """Show an image."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The image."""
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="IMAGE", help="Name or id.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Fields and values."""
        image = self.client().image(parsed_args.image)
        fields: dict[str, Any] = {name: Plain(image.get(name)) for name in ATTRIBUTES}
        fields |= {name: Size(image.get(name)) for name in SIZES}
        others = {name: value for name, value in image.items() if name not in (*ATTRIBUTES, *HIDDEN)}
        return self.dict2columns(fields | {"properties": Lines(others)})


class ImageSave(Guarded, Command):
    """Save an image as a file here, compared with the image's hash.

    The file appears under its name only when it is whole; on any failure nothing is left. Zeros become holes.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The image and the file."""
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="IMAGE", help="Name or id.")
        parser.add_argument("--file", type=Path, metavar="PATH", help="Default: ID.FORMAT in the current directory.")
        parser.add_argument("--overwrite", action="store_true", help="Replace PATH if it exists.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Says where the image is and what was compared."""
        from stillframe.cli.save import save  # noqa: PLC0415  (only this command needs it)

        client = self.client()
        image = client.image(parsed_args.image)
        path = parsed_args.file or Path(f"{image['id']}.{image.get('disk_format') or 'image'}")
        saved = save(client, image, path, overwrite=parsed_args.overwrite)
        proof = f"sha256 {saved.sha256}" if saved.compared else "the image has no sha256 to compare with"
        say(f"Saved {path}: {human_bytes(saved.size)}, {proof}")
        return 0


class ImageDelete(Guarded, Command):
    """Delete images; one that is being made has its capture cancelled."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The images."""
        parser = super().get_parser(prog_name)
        parser.add_argument("images", metavar="IMAGE", nargs="+", help="Names or ids.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """All that can be deleted are; the first refusal decides the exit code."""
        client = self.client()
        return each(parsed_args.images, lambda image: client.delete_image(client.image(image)["id"]))


def _row(image: dict[str, Any]) -> Sequence[Any]:
    return (
        image["id"],
        Plain(image.get("name")),
        image["status"],
        Plain(image.get("disk_format")),
        Size(image.get("size")),
        Plain(image.get("created_at")),
    )
