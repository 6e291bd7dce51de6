"""One HTML page about a run: what it is, how it went, what it survived. It needs nothing but itself.

Nothing is loaded from anywhere; without JavaScript all of it can be read. What comes from files is escaped.
"""

from runner.page.render import render_page, write_page
from runner.page.view import summary_line

__all__ = ["render_page", "summary_line", "write_page"]
