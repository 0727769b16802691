"""Pictures and PDFs as OpenAI's bodies hold them."""

from typing import Literal

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.messages import PicturePart

_DETAILS = ("auto", "low", "high", "original")


def detail_of(detail: str | None, param: str) -> Literal["auto", "low", "high"]:
    """How closely a picture is to be looked at. Raises InvalidRequest."""
    if detail not in (None, *_DETAILS):
        raise InvalidRequest(f"{param} = {detail!r} should be one of {', '.join(map(repr, _DETAILS))}.", param=param)
    return "low" if detail == "low" else "auto" if detail in (None, "auto") else "high"


def pdf_part(data: str | None, file_id: str | None, param: str, url: str | None = None) -> PicturePart:
    """A file that comes along, or is at an address. Raises UnsupportedField for one that is kept elsewhere."""
    if data is not None:
        field = f"{param}.file_data"
        return PicturePart(url=data if data[:5].lower() == "data:" else f"data:application/pdf;base64,{data}", param=field)
    if url is not None:
        return PicturePart(url=url, param=f"{param}.file_url")
    if file_id is not None:
        raise UnsupportedField(
            f"{param}.file_id = {file_id!r} names a stored file, and this server keeps none. Send file_data.", param=param
        )
    raise InvalidRequest(f"{param} holds no file. Send file_data with a PDF: data:application/pdf;base64,….", param=param)
