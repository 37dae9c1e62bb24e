#!/usr/bin/env python3
"""Follows every link within the book that mdBook has made, and finds every page in it.

usage: book_links.py DOCS BOOK    DOCS is docs/, BOOK the folder of the HTML
"""

import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    """The links of a page, and the places in it that links may name."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.places.add(attributes["id"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


def broken(book):
    # print.html repeats all pages, and toc.html is a frame of them.
    pages = {path.name: Page(path) for path in book.glob("*.html") if path.name not in ("print.html", "toc.html", "404.html")}
    for name, page in sorted(pages.items()):
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or link.startswith("print.html"):
                continue
            target = url.path or name
            if target not in pages:
                yield f"{name}: {link}: there is no such page in the book"
            elif url.fragment and urllib.parse.unquote(url.fragment) not in pages[target].places:
                yield f"{name}: {link}: there is no such place"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    docs, book = map(pathlib.Path, sys.argv[1:])
    wrong = list(broken(book))
    for page in docs.glob("*.md"):
        if page.name != "SUMMARY.md" and not (book / page.with_suffix(".html").name).exists():
            wrong.append(f"{page.name} is not in SUMMARY.md")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"the book is whole: {len(list(docs.glob('*.md'))) - 1} pages")


main()
