"""`python -m picturebook`."""

from picturebook.cli import main

main()
