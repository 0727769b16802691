"""Pages of a PDF by pdfium. It is for one thread, which the worker is."""

from typing import Any, cast

import pypdfium2 as pdfium
from PIL import Image

from pomona.pictures.decoding.images import Unreadable, cooked, describe
from pomona.pictures.decoding.protocol import Limits, Recipe

BEGINNING = 1024
"""`%PDF` stands somewhere in the first bytes (ISO 32000, annex H)."""
_POINTS_PER_INCH = 72
_DOTS_PER_INCH = 150
"""A page's size as a picture, if nothing bounds it: enough for small print."""
_FARTHEST_POINTS = 200_000


def is_pdf(source: bytes) -> bool:
    """Whether it says that it is one."""
    return b"%PDF-" in source[:BEGINNING]


class OpenDocument:
    """A PDF and the sizes of its pages. Raises Unreadable."""

    def __init__(self, source: bytes, limits: Limits) -> None:
        try:
            self._document = pdfium.PdfDocument(source)
            count = len(self._document)
        except pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise Unreadable("is a PDF that asks for a password. Send it without one") from None
            raise Unreadable(f"is a damaged PDF: {describe(error)}") from None
        if limits.max_pages == 0:
            raise Unreadable("is a PDF, and none are read here (pictures.max_pdf_pages is 0)")
        if count > limits.max_pages:
            most = f"at most {limits.max_pages} become pictures here (pictures.max_pdf_pages)"
            raise Unreadable(f"is a PDF of {count} pages; {most}. Send the pages that matter")
        if count == 0:
            raise Unreadable("is a PDF without pages")
        self._limits = limits
        self.sizes = [self._size(index) for index in range(count)]

    def pixels(self, index: int, recipe: Recipe) -> bytes:
        """RGB bytes of a page, drawn as large as it is needed."""
        page = self._page(index)
        width, height = _points(page)
        scale = max(recipe.resized[0] / width, recipe.resized[1] / height)
        if width * scale * height * scale > self._limits.max_pixels:
            raise Unreadable(f"has a page of {width:g} x {height:g} points, which is too narrow to be drawn")
        try:
            drawn = cast("Image.Image", cast("Any", page).render(scale=scale, may_draw_forms=False).to_pil()).convert("RGB")
        except (pdfium.PdfiumError, ValueError) as error:
            raise Unreadable(f"is a PDF whose page {index + 1} cannot be drawn: {describe(error)}") from None
        return cooked(drawn, recipe)

    def _page(self, index: int) -> pdfium.PdfPage:
        try:
            return self._document[index]
        except pdfium.PdfiumError as error:
            raise Unreadable(f"is a PDF whose page {index + 1} is damaged: {describe(error)}") from None

    def _size(self, index: int) -> tuple[int, int]:
        width, height = _points(self._page(index))
        if not (0 < width < _FARTHEST_POINTS and 0 < height < _FARTHEST_POINTS):
            raise Unreadable(f"is a PDF whose page {index + 1} has no size that can be drawn: {width:g} x {height:g} points")
        scale = _DOTS_PER_INCH / _POINTS_PER_INCH
        return max(1, round(width * scale)), max(1, round(height * scale))


def _points(page: pdfium.PdfPage) -> tuple[float, float]:
    return cast("tuple[float, float]", page.get_size())
