"""`python -m pomona.pictures.decoding`: started by `decoding.client`, not by people."""

from pomona.pictures.decoding.worker import main

main()
