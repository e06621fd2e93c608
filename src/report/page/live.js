// A page that `vitx report --serve` gave asks for new data. What is chosen stays.

const EVERY = 2000;

function startLive() {
  if (!state.data.live) return;
  let [tag, models] = ["", state.data.models];
  const ask = async () => {
    let wait = EVERY;
    try {
      const answer = await fetch("data.json", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") ?? "";
        const data = await answer.json();
        take(data);
        curvesOptions();
        scatterOptions();
        changed();
        if (data.models !== models) {
          byId("models").innerHTML = await (await fetch("models", { cache: "no-store" })).text();
          models = data.models;
        }
      } else if (answer.status !== 304) throw new Error(await answer.text());
      byId("notice").textContent = "";
      byId("when").textContent = state.data.running ? "live" : "live; no trial runs now";
    } catch (error) {
      // A server that has ended says nothing; one that cannot read the sweep says why.
      const reason = error instanceof TypeError ? "vitx does not answer any more" : error.message;
      byId("notice").textContent = `${reason}: this is what was there before`;
      wait = 5 * EVERY;
    }
    setTimeout(ask, wait);
  };
  setTimeout(ask, 0);
}
