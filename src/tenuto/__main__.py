"""`python -m tenuto`."""

from tenuto.cli.main import main

if __name__ == "__main__":  # worker processes import this module too
    main()
