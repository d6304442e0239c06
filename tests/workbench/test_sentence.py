import pytest
from pydantic import ValidationError

from models.config import DropoutRates
from workbench.sentence import sentence


def test_what_pydantic_says_becomes_a_sentence():
    with pytest.raises(ValidationError) as raised:
        DropoutRates(attention=2)
    assert sentence(raised.value) == "attention 2: Input should be less than 1"


def test_an_error_nobody_expected_is_told_by_its_kind():
    assert sentence(ValueError("3 is too few; give 4")) == "3 is too few; give 4"
    assert sentence(KeyError("x")) == "unexpected KeyError: 'x'"
