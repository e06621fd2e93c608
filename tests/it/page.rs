//! The page of a sweep in a real browser, without a window: `VITX_BROWSER`, or what is found.

use std::{fs, path::Path, process::Command};

use crate::support::{self, succeed, sweep, vitx};

/// The first browser that answers.
fn browser() -> Option<String> {
    if let Ok(named) = std::env::var("VITX_BROWSER") {
        return Some(named);
    }
    let known = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    known.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok()).map(str::to_owned)
}

/// Loads a page, lets its scripts run, and gives the document that comes out.
fn document(browser: &str, page: &Path, profile: &Path) -> String {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    // It must need nothing from outside.
    command.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,1600", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    let output = command.arg(format!("file://{}", page.display())).output().unwrap();
    assert!(output.status.success(), "{}", support::shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What the test asks the browser, after the page's own script: answers are JSON in the title.
const QUESTIONS: &str = r##"
<script>
const column = (name) => [...document.querySelectorAll("#variants th")].findIndex((th) => th.textContent === name);
const cells = (name) => [...document.querySelectorAll("#variants tbody tr")].map((row) => row.cells[column(name)]);
const sorted = (name) => {
  document.querySelectorAll("#variants th")[column(name)].click();
  return cells(name).map((cell) => cell.dataset.value ?? cell.textContent);
};
const inside = (svg, shapes) => {
  const frame = document.querySelector(svg).getBoundingClientRect();
  return [...document.querySelectorAll(`${svg} ${shapes}`)].every((shape) => {
    const box = shape.getBoundingClientRect();
    return box.width > 0 && box.left >= frame.left - 1 && box.right <= frame.right + 1
      && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
  });
};
for (const details of document.querySelectorAll("details")) details.open = true;
const fits = [...document.querySelectorAll("svg.model")].every((svg) => {
  const boxes = [...svg.querySelectorAll("rect")].map((rect) => rect.getBoundingClientRect());
  return [...svg.querySelectorAll("text:not(.tick)")].every((text) => {
    const own = text.getBoundingClientRect();
    return boxes.some((box) => own.left >= box.left && own.right <= box.right) || text.textContent.startsWith("×");
  });
});
document.title = JSON.stringify({
  errors: window.errors,
  loads: performance.getEntriesByType("resource").length,
  up: sorted("test top-1"),
  down: sorted("test top-1"),
  depth: sorted("depth"),
  best: cells("test top-1").filter((cell) => getComputedStyle(cell).fontWeight >= 700).map((cell) => cell.dataset.value),
  curves: document.querySelectorAll("#curves polyline").length,
  lines: document.querySelectorAll("#coordinates polyline").length,
  inside: inside("#curves", "polyline") && inside("#coordinates", "polyline"),
  importance: [...document.querySelectorAll("#importance tr")].map((row) => ({
    says: row.cells[1].textContent, bar: row.querySelector(".bar")?.getBoundingClientRect().width ?? null,
  })),
  models: document.querySelectorAll("svg.model").length,
  repeats: document.querySelectorAll("svg.model .repeat").length,
  fits,
  wide: document.documentElement.scrollWidth <= window.innerWidth,
});
</script>
"##;

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = browser() else {
        support::skipped("no browser is found (chromium, or VITX_BROWSER), so the page of a sweep is not tested");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    succeed(sweep(folder.path(), &["-p", "depth=1,2,10", "-p", "patch_size=2,4", "--seeds", "2"]));
    succeed(vitx(folder.path(), &["report", "out", "--html", "page.html"]));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    let catch = "<head><script>window.errors = []; onerror = (message) => { window.errors.push(message) }</script>";
    let asked = page.replacen("<head>", catch, 1).replacen("</body>", &format!("{QUESTIONS}</body>"), 1);
    let path = folder.path().join("asked.html");
    fs::write(&path, asked).unwrap();
    let document = document(&browser, &path, &folder.path().join("profile"));
    let title = document.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).unwrap().0;
    let answers: serde_json::Value = serde_json::from_str(title).unwrap_or_else(|_| panic!("{title}\n{document}"));
    assert_eq!(answers["errors"], serde_json::json!([]), "{answers:#}");
    assert_eq!(answers["loads"], 0);
    let numbers = |name: &str| -> Vec<f64> {
        let all = answers[name].as_array().unwrap().iter();
        all.map(|text| text.as_str().unwrap().parse().unwrap()).collect()
    };
    let (up, down) = (numbers("up"), numbers("down"));
    assert_eq!(up.len(), 6);
    assert!(up.is_sorted() && down.is_sorted_by(|a, b| a >= b), "{answers:#}");
    // Numbers as numbers: 10 comes after 2.
    assert_eq!(numbers("depth"), [1.0, 1.0, 2.0, 2.0, 10.0, 10.0]);
    assert!(numbers("best").iter().all(|best| *best == down[0]) && !numbers("best").is_empty(), "{answers:#}");
    // A curve for each trial, a line for each variant.
    assert_eq!((&answers["curves"], &answers["lines"]), (&12.into(), &6.into()));
    assert_eq!((&answers["inside"], &answers["fits"], &answers["wide"]), (&true.into(), &true.into(), &true.into()));
    // Of each key a share with its bar, or why there is none.
    let importance = answers["importance"].as_array().unwrap();
    assert_eq!(importance.len(), 2);
    for key in importance {
        match key["says"].as_str().unwrap().strip_suffix('%') {
            Some(share) => {
                let width = 3.0 * share.parse::<f64>().unwrap();
                assert!((key["bar"].as_f64().unwrap() - width).abs() <= 1.0, "{answers:#}");
            }
            None => assert!(!key["says"].as_str().unwrap().is_empty() && key["bar"].is_null(), "{answers:#}"),
        }
    }
    // Six models, of which those with more than one layer draw it once.
    assert_eq!((&answers["models"], &answers["repeats"]), (&6.into(), &4.into()));
}
