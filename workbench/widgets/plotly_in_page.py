"""plotly's part of a live figure in the page: loaded once for all figures, and chosen lines are moved without it.

plotly gives each of its figure widgets its own copy of its 5 MB script, and to read several of them blocks a page for seconds.
So a live figure brings a short script of its own, and the long one stands in one widget that all figures of a kernel name.
"""

from functools import cache
from pathlib import Path

import anywidget
import plotly
import traitlets

from workbench.widgets.late_page import LATE_PAGE_SCRIPT


class PlotlyScript(anywidget.AnyWidget):
    """Nothing to see: the text of plotly's widget script, and its version."""

    _esm = "export default {};"

    version: traitlets.Unicode = traitlets.Unicode().tag(sync=True)
    code: traitlets.Unicode = traitlets.Unicode().tag(sync=True)


def plotly_script() -> PlotlyScript:
    """The one script of this kernel; a page that shows figures of several kernels loads each version once."""
    if _one_script().comm is None:  # it was closed, with all other widgets
        _one_script.cache_clear()
    return _one_script()


@cache
def _one_script() -> PlotlyScript:
    code = (Path(plotly.__file__).parent / "package_data" / "widgetbundle.js").read_text("utf-8")
    return PlotlyScript(version=plotly.__version__, code=code)


LIVE_FIGURE_SCRIPT = (
    LATE_PAGE_SCRIPT
    + """
const scripts = (globalThis.workbenchPlotlyScripts ??= new Map());

async function script(model) {
  const shared = await model.widget_manager.get_model(model.get("script").replace("IPY_MODEL_", ""));
  const version = shared.get("version");
  if (!scripts.has(version)) {
    const address = URL.createObjectURL(new Blob([shared.get("code")], { type: "text/javascript" }));
    scripts.set(version, import(address).finally(() => URL.revokeObjectURL(address)));
    scripts.get(version).catch(() => scripts.delete(version));
  }
  return (await scripts.get(version)).default;
}

// A vertical line is put elsewhere without plotly, which would draw all curves of the figure anew.
function move(plot, place, x) {
  const [shape, drawn] = [plot?.layout?.shapes?.[place], plot?._fullLayout?.shapes?.[place]];
  const path = plot?.querySelector(`.shapelayer path[data-index="${place}"]`);
  if (!shape || !drawn || !path) return false;
  const axis = plot._fullLayout[drawn.xref.replace("x", "xaxis")];
  shape.x0 = shape.x1 = drawn.x0 = drawn.x1 = x;
  path.setAttribute("d", path.getAttribute("d").replace(/([ML])[^,]+/g, `$1${axis._offset + axis.d2p(x)}`));
  return true;
}

export default () => {
  const missed = [];
  let plotly;
  let lasting;  // what is listened for by this model is heard whichever view is closed; by a view's, until that is closed
  let listeners;  // of the view that is being drawn: plotly leaves those of closed views, which fail

  function remember(event, _, value) {
    if (event === "change:_widget_data") missed.length = 0;  // it holds all that was said before
    else if (event.startsWith("change:_py2js_") && value !== null) missed.push([event.slice("change:".length), value]);
  }

  // plotly hears what the kernel says from here on; what it said before is said again.
  async function start() {
    const widget = (await script(lasting))();
    lasting.off("all", remember);
    const on = (name, callback) => {
      lasting.on(name, callback);
      listeners?.push([name, callback]);
    };
    widget.initialize({ model: { ...lasting, on } });
    for (const [name, value] of missed.splice(0)) {
      lasting.set(name, value);
      lasting.set(name, null);
    }
    return widget;
  }

  return late({
    initialize({ model }) {
      lasting = model;
      model.on("all", remember);
    },

    async render({ model, el }) {
      let widget;
      try {
        widget = await (plotly ??= start());
      } catch (error) {
        plotly = undefined;
        el.textContent = `The figure cannot be drawn, since plotly did not load (${error.message}); run its cell again.`;
        return undefined;
      }
      let own;
      let gone;
      const draw = () => {
        own = listeners = [];
        gone = widget.render({ el });
        listeners = undefined;
      };
      const undraw = () => {
        own.forEach(([name, callback]) => lasting.off(name, callback));
        gone();
      };
      const drawAnew = () => { undraw(); draw(); };  // all was said again, which plotly does not heed
      draw();
      const plot = () => el.querySelector(".js-plotly-plot") ?? el;
      let later;
      const follow = () => {
        clearTimeout(later);
        const moved = model.get("chosen_lines").map(([place, x]) => move(plot(), place, x));
        if (!moved.every(Boolean) && el.isConnected) later = setTimeout(follow, 100);  // it is being drawn
      };
      // a figure is drawn before it is on the page, and guesses its width
      const fit = () => { window.dispatchEvent(new Event("resize")); follow(); };
      const observer = new ResizeObserver(() => requestAnimationFrame(fit));
      observer.observe(el);
      model.on("change:chosen_lines", follow);
      model.on("change:_widget_data", drawAnew);
      model.set("moves_lines", true);
      model.save_changes();
      return () => {
        observer.disconnect();
        model.off("change:chosen_lines", follow);
        model.off("change:_widget_data", drawAnew);
        clearTimeout(later);
        undraw();
      };
    },
  });
};
"""
)
