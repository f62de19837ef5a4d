"""`python -m tenuto`."""

from tenuto.cli.main import main

main()
