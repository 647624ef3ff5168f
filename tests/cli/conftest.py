"""The program, run within the tests."""

from __future__ import annotations

import pytest

from flatnorm_xr.cli.main import main


@pytest.fixture
def flatnorm(capsys):
    """Run the program; gives exit status, standard output, standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return call
