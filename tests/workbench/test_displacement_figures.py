"""The figures of set-complement probes show what the frames say and drop nothing in silence."""

import numpy as np
import pandas as pd
import pytest

from models.set_complement.closed_form import closed_form
from probes.certificate import Certificate, certify
from probes.displacement_structure import displacement_structure
from probes.logit_displacement import displacement, power_law, token_displacement
from probes.logit_tables import logit_tables
from probes.two_token_identity import two_token_identity
from workbench.figures import displacement as figures
from workbench.figures.certificate import worst_gap_by_length


def test_displacement_by_length_shows_every_measurement_or_its_share():
    model = closed_form(8)
    frame = displacement(model, sequences=8)
    frame.loc[(frame["measure"] == "context") & (frame["length"] == 5), ["value", "not_positive"]] = [-1.0, 0.75]
    figure = figures.displacement_by_length(frame, power_law(token_displacement(model, sequences=8)))
    logarithmic = [trace for trace in figure.data if trace.xaxis == "x" and trace.name == "context"]
    shares = [trace for trace in figure.data if trace.xaxis == "x3" and trace.name == "context"]
    assert list(logarithmic[0].x) == [2, 3, 4, 6, 7]
    assert list(shares[0].x) == [2, 3, 4, 5, 6, 7]
    assert max(shares[0].y) == 0.75
    assert "context -1.000" in figure.layout.title.text
    np.testing.assert_allclose(next(trace for trace in figure.data if trace.name == "2/s law").y, 7 / np.arange(2, 8))


def test_displacement_table_is_the_table():
    tables = logit_tables(closed_form(6))
    for name, table in (("bias", tables.bias), ("displacement", tables.displacement)):
        np.testing.assert_array_equal(figures.displacement_table(tables.frame(), name).data[0].z, table)
    with pytest.raises(ValueError, match="'gamma' is not in the frame, expected one of"):
        figures.displacement_table(tables.frame(), "gamma")


def test_structure_and_identity_figures_draw_every_column():
    model = closed_form(6)
    figure = figures.displacement_structure(displacement_structure(model))
    assert [trace.name for trace in figure.data] == ["gamma", "b", "gamma, control", "b, control"]
    figure = figures.two_token_residual(two_token_identity(model))
    assert [list(trace.x) for trace in figure.data] == [[3, 4, 5]] * 2


def test_worst_gap_is_marked_by_its_verdict():
    certificate = Certificate(
        lengths=[1, 2, 3],
        verdict=["certified", "fails", "undecided"],
        worst_gap=[1.0, -1.0, 0.0],
        worst_input=[[0], [1, 0], [2, 1, 0]],
        present=[0, 1, 2],
        absent=[3, 3, 3],
    )
    marked = {trace.name: list(trace.x) for trace in worst_gap_by_length(certificate.frame()).data if trace.name}
    assert marked == {"certified (1 lengths)": [1], "fails (1 lengths)": [2], "undecided (1 lengths)": [3]}
    assert isinstance(certify(closed_form(4)).frame(), pd.DataFrame)
