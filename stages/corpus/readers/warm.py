"""Importing this makes a process ready to read: the server from which the process of each file is forked does it once.

docutils and lxml build much at their first use, ten times what a file takes; and frozen objects are not copied when
the garbage collector of a forked process looks at them.
"""

import gc

import pymupdf  # noqa: F401

from stages.corpus.readers.html import fragment_markdown
from stages.corpus.readers.rst import rst_markdown

_RST = """
Title
=====

.. note:: Text, ``code`` and :class:`a role`.

.. code-block:: python

   x = 1

.. list-table::

   * - a
     - b

- item

>>> x
"""

fragment_markdown("<p>Text</p>")
rst_markdown(_RST)
gc.collect()
gc.freeze()
