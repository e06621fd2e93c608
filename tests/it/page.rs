//! The page of a sweep in a real browser, by real clicks. What the page's own scripts call `state`, `curves` and so on is
//! asked for by these names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{
    self,
    browser::{self, Browser},
    succeed, sweep, vitx,
};

/// A browser with a page of its own profile, or a word on why there is none.
fn started(folder: &Path) -> Option<Browser> {
    match browser::find() {
        Some(program) => Some(Browser::start(&program, &folder.join("profile"))),
        None => {
            support::skipped("no browser is found (chromium, or VITX_BROWSER), so the page of a sweep is not tested");
            None
        }
    }
}

/// The page of the sweep `out`, open in the browser.
fn open(folder: &Path, browser: &mut Browser) -> PathBuf {
    succeed(vitx(folder, &["report", "out", "--html", "page.html"]));
    let page = folder.join("page.html");
    browser.open(&format!("file://{}", page.display()));
    page
}

/// The cells of a column of the table that are not hidden: their sorted value, or their text.
fn column(browser: &mut Browser, name: &str) -> Vec<String> {
    let cells = browser.ask(&format!(
        "(() => {{ const at = [...document.querySelectorAll('#variants thead th')].findIndex((th) => th.textContent === {name:?}); \
         return [...document.querySelectorAll('#variants tbody tr')].filter((row) => !row.hidden) \
           .map((row) => row.cells[at].dataset.value ?? row.cells[at].textContent); }})()"
    ));
    cells.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
}

fn numbers(texts: &[String]) -> Vec<f64> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect()
}

/// A row's curve must be where its numbers say: the place on the screen of the point of an epoch.
fn point(browser: &mut Browser, line: usize, epoch: usize) -> (f64, f64) {
    let (x, y, ..) = browser.place_of("byId('curves')");
    let drawn = browser.ask(&format!("curves.lines[{line}].drawn[{epoch}]"));
    (x + drawn[0].as_f64().unwrap(), y + drawn[1].as_f64().unwrap())
}

fn brightness(browser: &mut Browser) -> f64 {
    let pixels = browser.screenshot();
    pixels.pixels().map(|pixel| f64::from(pixel.0[1])).sum::<f64>() / (pixels.width() * pixels.height()) as f64
}

/// Directories as a sweep of `count` trials leaves them, of which some failed and some were stopped.
fn pretended(folder: &Path, count: usize) {
    let mut names = Vec::new();
    for at in 0..count {
        let (depth, rate) = (2 + 2 * (at % 4), 1e-4 * 1.013_f64.powi(at as i32 * 400 / count as i32));
        let name = format!("vit-{at:012x}");
        let trial = folder.join("out/trials").join(&name);
        fs::create_dir_all(&trial).unwrap();
        let write = |file: &str, value: Value| fs::write(trial.join(file), value.to_string()).unwrap();
        write("config.yaml", json!({}));
        let activation = ["gelu", "relu", "</script><b>"][at % 3];
        write(
            "variant.json",
            json!([["depth", depth], ["activation", activation], ["train.optimizer.learning_rate", rate]]),
        );
        let top =
            0.5 + 0.04 * depth as f64 - 0.1 * (rate / 2e-3).log10().abs() + 0.01 * ((at * 7919) % 13) as f64 / 13.0;
        let stopped = count > 10 && at % 5 == 4;
        let epochs = if stopped { 9 } else { 30 };
        let accuracy = |epoch: usize| top * (1.0 - (-(epoch as f64) / 5.0).exp());
        let line = |epoch: usize| {
            json!({
                "epoch": epoch, "loss": 3.0 - 2.0 * accuracy(epoch), "accuracy": accuracy(epoch), "top_5_accuracy": 0.9,
                "val_loss": 3.5 - 2.0 * accuracy(epoch), "val_accuracy": 0.9 * accuracy(epoch), "val_top_5_accuracy": 0.8,
                "learning_rate": rate, "seconds": depth as f64, "images_per_second": 1000.0, "loader_wait_seconds": 0.0,
            })
            .to_string()
                + "\n"
        };
        fs::write(trial.join("metrics.jsonl"), (1..=epochs).map(line).collect::<String>()).unwrap();
        match (stopped, at % 50 == 49) {
            (true, _) => write("stopped.json", json!({ "reason": "stopped: not among the best third", "epochs": 9 })),
            (false, true) => write("failure.json", json!({ "kind": "nan", "reason": "the loss is not finite" })),
            _ => write(
                "result.json",
                json!({
                    "test_loss": 1.0, "test_accuracy": 0.9 * top, "test_top_5_accuracy": 0.9, "best_epoch": 30,
                    "best_val_loss": 1.0, "best_val_accuracy": 0.9 * accuracy(30), "best_val_top_5_accuracy": 0.8, "epochs": 30,
                    "parameters": 1_000_000 * depth, "flops": 30_000_000 * depth, "seconds": 30.0 * depth as f64,
                    "images_per_second": 1000.0, "peak_memory_bytes": (200 << 20) + depth * (40 << 20),
                }),
            ),
        }
        let class = |class: usize| json!({ "class": format!("<i>{class}"), "images": 100, "correct": (40 + 5 * class + at % 9) % 100 });
        write("test_classes.json", json!({ "classes": (0..10).map(class).collect::<Vec<_>>() }));
        names.push(name);
    }
    fs::write(folder.join("out/trials.json"), json!({ "trials": names }).to_string()).unwrap();
}

#[test]
fn the_page_of_a_real_sweep_works() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = started(folder.path()) else { return };
    succeed(sweep(folder.path(), &["-p", "depth=1,2,10", "-p", "patch_size=2,4", "--seeds", "2"]));
    open(folder.path(), &mut browser);
    assert_eq!(browser.ask("performance.getEntriesByType('resource').length"), 0);
    // A click sorts, numbers as numbers: 10 comes after 2. Another one turns the order around.
    let head = |name: &str| {
        format!("[...document.querySelectorAll('#variants th button')].find((b) => b.textContent === '{name}')")
    };
    browser.click_on(&head("depth"));
    browser.wait("document.querySelector('[aria-sort=ascending]') !== null");
    assert_eq!(numbers(&column(&mut browser, "depth")), [1.0, 1.0, 2.0, 2.0, 10.0, 10.0]);
    browser.click_on(&head("test top-1"));
    browser.wait("document.querySelector('[data-column=\"test top-1\"][aria-sort=ascending]') !== null");
    assert!(numbers(&column(&mut browser, "test top-1")).is_sorted());
    browser.click_on(&head("test top-1"));
    browser.wait("document.querySelector('[aria-sort=descending]') !== null");
    let down = numbers(&column(&mut browser, "test top-1"));
    assert!(down.len() == 6 && down.is_sorted_by(|a, b| a >= b), "{down:?}");
    let best = browser.ask("[...document.querySelectorAll('#variants td.best')].map((cell) => cell.textContent)");
    assert!(best.to_string().contains(&format!("{:.2}%", 100.0 * down[0])), "{best}");
    // A curve for each trial, a line for each variant.
    assert_eq!(browser.ask("[curves.lines.length, coordinates.lines.length]"), json!([12, 6]));
    let importance =
        browser.ask("[...document.querySelectorAll('#importance tr')].map((row) => row.cells[1].textContent)");
    assert_eq!(importance.as_array().unwrap().len(), 2);
    // Six models, of which those with more than one layer draw it once; each layer's text fits into its box.
    let models = browser.ask(
        "(() => { for (const d of document.querySelectorAll('details')) d.open = true; \
         const svgs = [...document.querySelectorAll('svg.model')]; const fits = svgs.every((svg) => { \
           const boxes = [...svg.querySelectorAll('rect')].map((r) => r.getBoundingClientRect()); \
           return [...svg.querySelectorAll('text:not(.tick)')].every((text) => { const own = text.getBoundingClientRect(); \
             return boxes.some((b) => own.left >= b.left && own.right <= b.right) || text.textContent.startsWith('×'); }); }); \
         return [svgs.length, document.querySelectorAll('svg.model .repeat').length, fits]; })()",
    );
    assert_eq!(models, json!([6, 4, true]));
    assert_eq!(browser.ask("document.documentElement.scrollWidth <= innerWidth"), true);
    // A trial's link leads to its directory.
    let link = browser.ask("document.querySelector('#variants a').href").as_str().unwrap().to_owned();
    assert!(Path::new(link.strip_prefix("file://").unwrap()).join("result.json").exists(), "{link}");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn a_sweep_by_the_loss_shows_the_loss_first() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = started(folder.path()) else { return };
    let rates = ["-p", "train.optimizer.learning_rate=log(1e-5, 1e-2, 8)", "--metric", "val_loss"];
    succeed(sweep(folder.path(), &[&rates[..], &["--set", "data.train_limit=60"]].concat()));
    open(folder.path(), &mut browser);
    let shown = browser.ask(
        "[curves.metric, scatter.up, colourings().find(([value]) => value === state.colourBy)[1], \
         axesOf(state.data).some((axis) => axis.name === 'val loss')]",
    );
    assert_eq!(shown, json!(["validation loss", "val loss", "val loss", true]));
    let losses = numbers(&column(&mut browser, "val loss"));
    assert!(losses.len() == 8 && losses.is_sorted(), "the best first: {losses:?}");
    let said = browser.ask("byId('summary').textContent");
    assert!(said.as_str().unwrap().contains(&format!("best val loss{:.4}", losses[0])), "{said}");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn brushing_hovering_and_the_theme_work_with_4_and_with_400_trials() {
    for count in [4, 400] {
        let folder = tempfile::tempdir().unwrap();
        let Some(mut browser) = started(folder.path()) else { return };
        pretended(folder.path(), count);
        // On a busy machine once more: the least counts.
        let mut drawn = f64::INFINITY;
        for _ in 0..5 {
            open(folder.path(), &mut browser);
            drawn = browser.ask("drawnIn").as_f64().unwrap().min(drawn);
            if drawn < 1000.0 {
                break;
            }
        }
        assert!(drawn < 1000.0, "{count} trials are drawn in {drawn} ms");
        assert_eq!(column(&mut browser, "state").len(), count);

        // A drag along the upper half of an axis keeps what passes there, in the table, the curves and the points.
        let (x, y, width, height) = browser.place_of("document.querySelector('.axis[data-axis=depth]')");
        let at = |share: f64| (x + width / 2.0, y + 12.0 + share * (height - 24.0));
        browser.mouse("mouseMoved", at(0.0));
        browser.mouse("mousePressed", at(0.0));
        for share in [0.1, 0.3, 0.5] {
            browser.mouse("mouseMoved", at(share));
        }
        browser.mouse("mouseReleased", at(0.5));
        browser.wait("state.rows.length < state.data.rows.length");
        let depths = numbers(&column(&mut browser, "depth"));
        assert_eq!(depths.len(), count / 2, "{depths:?}");
        assert!(depths.iter().all(|depth| *depth >= 6.0), "{depths:?}");
        assert_eq!(browser.ask("[curves.lines.length, coordinates.lines.length]"), json!([count / 2, count / 2]));
        assert_eq!(browser.ask("scatter.points.every((point) => point.row.values[0] >= 6)"), true);
        let chip = browser.ask("byId('chips').textContent").as_str().unwrap().to_owned();
        assert!(chip.starts_with("depth: "), "{chip}");
        assert_eq!(browser.ask("byId('count').textContent"), format!("{} of {count} variants", count / 2));

        // The pointer on a curve's point shows its value.
        let place = point(&mut browser, 0, 8);
        browser.mouse("mouseMoved", place);
        browser.wait("!byId('tip').hidden");
        let (tip, shown) =
            (browser.ask("byId('tip').textContent"), browser.ask("curves.point.line.kept[curves.point.at]"));
        let percent = format!("validation accuracy {:.2}%epoch {}", 100.0 * shown[1].as_f64().unwrap(), shown[0]);
        assert!(tip.as_str().unwrap().contains(&percent), "{tip} has no {percent}");
        let hovered = browser.ask("[...document.querySelectorAll('#variants tr.hovered')].length");
        assert_eq!(hovered, 1);

        // Another click on the axis lets go; the keys make a filter, too, and Escape removes it.
        browser.click_on("document.querySelector('.axis[data-axis=depth]')");
        browser.wait("state.rows.length === state.data.rows.length");
        browser.ask("document.querySelector('.axis[data-axis=depth]').focus()");
        browser.key("ArrowUp");
        browser.wait(&format!("state.rows.length === {}", count * 3 / 4));
        browser.key("Escape");
        browser.wait("state.rows.length === state.data.rows.length");

        // One variant against another, class by class.
        assert_eq!(browser.ask("byId('classes').querySelectorAll('tbody tr').length"), 10);
        browser.ask(
            "(() => { for (const [at, row] of [[0, 1], [1, 0]]) { const select = document.querySelectorAll('#classes-options select')[at]; \
             select.value = state.data.rows[row].name; select.dispatchEvent(new Event('change')); redraw(); } })()",
        );
        let points = "[...byId('classes').querySelectorAll('tbody tr')].map((row) => Number(row.cells[3].textContent))";
        assert_eq!(browser.ask(points), json!(vec![1; 10]));

        // Finding by a name, and showing all again.
        browser.click_on("byId('search')");
        browser.call("Input.insertText", json!({ "text": "relu" }));
        browser.wait("state.rows.length > 0 && state.rows.every((row) => row.values[1] === 'relu')");
        browser.click_on("byId('clear')");
        browser.wait("state.rows.length === state.data.rows.length");

        // Any figure, by time, on scales of powers.
        for select in ["validation loss", "learning rate", "training accuracy"] {
            browser.ask(&format!(
                "(() => {{ const select = document.querySelector('#curves-options select'); select.value = {select:?}; \
                 select.dispatchEvent(new Event('change')); for (const box of document.querySelectorAll('#curves-options input')) box.click(); \
                 const by = document.querySelectorAll('#curves-options select')[1]; by.value = 'time'; by.dispatchEvent(new Event('change')); }})()"
            ));
            browser.wait("curves.byTime && !asked && curves.lines.length > 0");
        }

        // The switch makes light dark, and dark light; at first it is as the system has it.
        browser.mouse("mouseMoved", (5.0, 5.0));
        let light = brightness(&mut browser);
        browser.click_on("byId('theme')");
        browser.wait("ground() === 'dark' && !asked");
        let dark = brightness(&mut browser);
        assert!(light > 180.0 && dark < 80.0, "{light} and {dark}");
        browser.ask("localStorage.removeItem('vitx-theme')");
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
        browser.call("Emulation.setEmulatedMedia", media);
        browser.ask("setTheme('')");
        assert_eq!(browser.ask("ground()"), "dark");
        assert_eq!(browser.ask("document.querySelectorAll('b:not(#tip b)').length"), 0);
        assert_eq!(browser.errors(), Vec::<String>::new(), "{count} trials");
    }
}
