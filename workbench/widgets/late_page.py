"""Widgets whose page comes up late are told all again; by themselves they would stay as they were born, which is blank.

A widget that a busy page does not bring up within 2 s is told nothing any more: anywidget gives it up, with all that was said
to it since its birth. Here the page listens for itself then, and asks the kernel to say it again.
"""

import anywidget
import traitlets

LATE_PAGE_SCRIPT = """
// Events tell the model itself, of which a widget is given a part.
function whole(model) {
  let found;
  model.on("change:page", (itself) => (found = itself));
  model.set("page", Math.random());  // a change in any case: a page may have been saved
  model.set("page", undefined);
  return found;
}

// The widget, but for a page that comes up late.
function late(widget) {
  return {
    ...widget,
    initialize({ model, ...rest }) {
      const itself = whole(model);
      const hears = itself._handle_comm_msg({ content: { data: { method: "custom" } }, buffers: [] });
      hears.catch(() => {
        if (!itself.comm) return;  // there is no kernel
        const hear = Object.getPrototypeOf(Object.getPrototypeOf(itself))._handle_comm_msg;
        itself.comm.on_msg((message) => hear.call(itself, message));
        model.set("late_pages", model.get("late_pages") + 1);
        model.save_changes();
      });
      return widget.initialize?.({ model, ...rest });
    },
  };
}
"""
"""Defines `late`, through which a widget's script passes what it exports."""


class ToldAgain(anywidget.AnyWidget):
    """A widget whose script passes what it exports through `late` of `LATE_PAGE_SCRIPT`."""

    late_pages: traitlets.Int = traitlets.Int(0).tag(sync=True)
    """How many pages came up late; set by each."""

    @traitlets.observe("late_pages")
    def _tell_again(self, _: object) -> None:
        self.send_state()
