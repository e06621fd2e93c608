// Puts the page together.

const began = performance.now();
take(JSON.parse(byId("data").textContent));
views.push(overviewView(), curvesView(), scatterView(), coordinatesView(), tableView(), classesView());
startTheme();
redraw();
/** Milliseconds from the first line to the last pixel. */
const drawnIn = performance.now() - began;
startLive();
