"""Several of a few choices: a row of checkboxes with one value, reachable by keyboard."""

from collections.abc import Sequence

import ipywidgets as widgets
import traitlets


class Choices(widgets.HBox):
    """Checkboxes; `value` is the tuple of the checked options, in the order they were given."""

    value = traitlets.Tuple()

    def __init__(self, options: Sequence[str], description: str, chosen: Sequence[str] | None = None):
        """All options are checked at first, or those `chosen`."""
        chosen = options if chosen is None else chosen
        self.boxes = {
            option: widgets.Checkbox(
                value=option in chosen,
                description=option,
                indent=False,
                layout=widgets.Layout(width="auto", margin="0 12px 0 0"),
            )
            for option in options
        }
        label = widgets.Label(description, layout=widgets.Layout(width="90px"))
        super().__init__([label, *self.boxes.values()], layout=widgets.Layout(flex_flow="row wrap"))
        for box in self.boxes.values():
            box.observe(self._update, "value")
        self._update()

    def _update(self, _: object = None) -> None:
        self.value = tuple(option for option, box in self.boxes.items() if box.value)
