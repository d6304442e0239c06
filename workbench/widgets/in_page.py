"""What an explorer does in the page itself, without its kernel: plots are fitted to the width, and chosen lines are moved."""

import anywidget
import traitlets


class InPage(anywidget.AnyWidget):
    """Nothing to see: a few lines of script beside the plots of an explorer.

    It fits plots to the width there is, since a live figure is drawn before it is on the page and guesses; and it moves the
    lines at a slider's place where nothing else of a plot changes, since plotly would draw all its curves anew.
    """

    chosen_lines: traitlets.List = traitlets.List().tag(sync=True)
    """For each picture the place of each such line among its shapes, and its x."""
    alive: traitlets.Bool = traitlets.Bool(False).tag(sync=True)
    """Whether it runs on a page; a busy page may have given it up, and then plotly moves the lines."""

    _esm = """
    function move(plot, place, x) {
      const [shape, drawn] = [plot?.layout?.shapes?.[place], plot?._fullLayout?.shapes?.[place]];
      const path = plot?.querySelector(`.shapelayer path[data-index="${place}"]`);
      if (!shape || !drawn || !path) return false;
      const axis = plot._fullLayout[drawn.xref.replace("x", "xaxis")];
      shape.x0 = shape.x1 = drawn.x0 = drawn.x1 = x;
      path.setAttribute("d", path.getAttribute("d").replace(/([ML])[^,]+/g, `$1${axis._offset + axis.d2p(x)}`));
      return true;
    }
    export default {
      render({ model, el }) {
        const explorer = () => el.closest(".workbench-explorer") ?? el;
        let later;
        const follow = () => {
          const plots = explorer().querySelectorAll(".js-plotly-plot");
          const moved = model.get("chosen_lines").flatMap((lines, number) =>
            lines.map(([place, x]) => move(plots[number], place, x)));
          clearTimeout(later);
          if (!moved.every(Boolean) && el.isConnected) later = setTimeout(follow, 100);  // a plot is being drawn
        };
        const fit = () => { window.dispatchEvent(new Event("resize")); follow(); };
        const observer = new ResizeObserver(() => requestAnimationFrame(fit));
        requestAnimationFrame(() => observer.observe(explorer()));
        model.on("change:chosen_lines", follow);
        model.set("alive", true);
        model.save_changes();
        return () => { observer.disconnect(); model.off("change:chosen_lines", follow); clearTimeout(later); };
      },
    };
    """
