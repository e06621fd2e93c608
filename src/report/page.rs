//! A sweep as one page that needs nothing else: a table, the curves of all trials, what accuracy costs, parallel
//! coordinates, what mattered, and the models. What the page shows is data in it (`page/data.rs`); what draws it are the
//! scripts beside this file, each of one subject.

use std::path::{Component, Path, PathBuf};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Record, View, diagram::diagram, network::network};
use crate::{
    experiment::ExperimentError,
    printable,
    trial::{Directory, Network, variant},
};

mod data;

const STYLE: &str = include_str!("page/style.css");

/// In this order, as one script.
const SCRIPTS: [&str; 15] = [
    include_str!("page/dom.js"),
    include_str!("page/format.js"),
    include_str!("page/scales.js"),
    include_str!("page/colours.js"),
    include_str!("page/state.js"),
    include_str!("page/tip.js"),
    include_str!("page/chart.js"),
    include_str!("page/curves.js"),
    include_str!("page/scatter.js"),
    include_str!("page/coordinates.js"),
    include_str!("page/table.js"),
    include_str!("page/classes.js"),
    include_str!("page/overview.js"),
    include_str!("page/theme.js"),
    include_str!("page/live.js"),
];

/// What the page may load: nothing, but new data from where it came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'";

/// A network as the page shows it.
#[derive(Debug, Clone)]
pub struct PageModel {
    /// Of the variants that share it.
    pub names: String,
    /// As [`Architecture::text`](crate::model::Architecture::text).
    pub text: String,
    /// To be drawn, where it is known.
    pub network: Option<Network>,
}

impl PageModel {
    /// The networks of trials, each once. A trial that has not begun has none yet.
    pub fn of(records: &[Record]) -> Vec<Self> {
        let mut models: Vec<Self> = Vec::new();
        for record in records {
            let Ok(Some(text)) = Directory::new(&record.folder).model_text() else { continue };
            let own = match record.variant.is_empty() {
                true => printable::line(&record.folder.display().to_string()).into_owned(),
                false => variant::shown(&record.variant),
            };
            match models.iter_mut().find(|model| model.text == text) {
                Some(model) => model.names += &format!(", {own}"),
                // What is damaged is not drawn.
                None => models.push(Self { names: own, text, network: network(&record.folder).ok().flatten() }),
            }
        }
        models
    }
}

/// A page of trials.
pub struct Page<'a> {
    /// The sweep's name.
    pub title: &'a str,
    /// All trials.
    pub records: &'a [Record],
    /// Their networks, each once.
    pub models: &'a [PageModel],
    /// What is compared, sorted and grouped.
    pub view: &'a View,
    /// The address of a trial's directory: its place among `records`, and its path.
    pub link: &'a dyn Fn(usize, &Path) -> String,
    /// Whether the page asks its server for new data.
    pub live: bool,
}

impl Page<'_> {
    /// The data that the page draws, as JSON.
    ///
    /// # Errors
    /// As [`super::render`].
    pub fn data(&self) -> Result<String, ExperimentError> {
        Ok(data::data(self)?.to_string())
    }

    /// The networks, as the page has them.
    pub fn networks(&self) -> String {
        networks(self.models).into_string()
    }

    /// The page.
    ///
    /// # Errors
    /// As [`super::render`].
    pub fn html(&self) -> Result<String, ExperimentError> {
        // Within the element no text may end it, and none may begin a comment.
        let data = self.data()?.replace('<', "\\u003c");
        let title = printable::line(self.title);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="referrer" content="no-referrer";
                    link rel="icon" href="data:,";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (header(&title))
                    main {
                        (filters())
                        div class="cards" { (cards(self.models)) }
                    }
                    footer { "Written by vitx " (env!("CARGO_PKG_VERSION")) "." }
                    div id="tip" role="status" hidden {}
                    div id="said" class="unseen" aria-live="polite" {}
                    span id="probe" hidden {}
                    script id="data" type="application/json" { (PreEscaped(data)) }
                    script { @for script in SCRIPTS { (PreEscaped(script)) } (PreEscaped(include_str!("page/start.js"))) }
                }
            }
        };
        Ok(page.into_string())
    }
}

fn header(title: &str) -> Markup {
    html! {
        header {
            h1 { (title) }
            span id="when" class="quiet" {}
            span id="notice" role="alert" {}
            span class="grow" {}
            button id="theme" type="button" { "dark" }
        }
    }
}

fn filters() -> Markup {
    html! {
        dl id="summary" {}
        noscript { p { "This page draws itself by JavaScript, which is switched off. `vitx report DIR` prints the table." } }
        div id="bar" role="region" aria-label="Filters" {
            span id="count" role="status" {}
            input id="search" type="search" placeholder="find a variant" aria-label="Find a variant by its name or state";
            select id="status" aria-label="Show variants in a state" {}
            span id="chips" {}
            button id="clear" type="button" hidden { "show all" }
            span class="grow" {}
            span id="colour" {}
        }
    }
}

fn cards(models: &[PageModel]) -> Markup {
    let card = |id: &str, title: &str| {
        html! {
            section class="card" aria-label=(title) {
                div class="head" { h2 { (title) } span class="grow" {} span id=(format!("{id}-options")) class="head" style="margin: 0" {} }
                div id=(id) {}
                div id=(format!("{id}-note")) class="legend" {}
            }
        }
    };
    html! {
        section class="card wide" aria-label="Curves" {
            div class="head" { h2 { "Curves" } span class="grow" {} span id="curves-options" class="head" style="margin: 0" {} }
            div id="curves" {}
            div id="legend" class="legend" aria-label="Legend" {}
        }
        section class="card wide" aria-label="From keys to accuracy" {
            div class="head" {
                h2 { "From keys to accuracy" }
                span class="quiet" { "drag along an axis to filter, click it to let go" }
            }
            div id="coordinates" {}
        }
        (card("scatter", "What accuracy costs"))
        section class="card" aria-label="What mattered" {
            div class="head" { h2 { "What mattered" } }
            div id="shares" {}
        }
        section class="card wide" id="pivot-card" aria-label="By two keys" hidden {
            div class="head" { h2 id="pivot-title" {} }
            div class="scroll" tabindex="0" { table id="pivot" {} }
        }
        section class="card wide" aria-label="Variants" {
            div class="head" { h2 { "Variants" } span class="quiet" { "a click on a colour holds on to a variant" } }
            div id="variants" class="scroll" tabindex="0" {}
        }
        section class="card wide" id="classes-card" aria-label="Class by class" hidden {
            div class="head" {
                h2 { "Class by class" }
                span id="classes-note" class="quiet" {}
                span class="grow" {}
                span id="classes-options" class="head" style="margin: 0" {}
            }
            div id="classes" class="scroll" tabindex="0" {}
        }
        section class="card wide" aria-label="Models" {
            div class="head" { h2 { "Models" } }
            div id="models" { (networks(models)) }
        }
    }
}

fn networks(models: &[PageModel]) -> Markup {
    html! {
        @if models.is_empty() { p class="quiet" { "No trial has begun." } }
        @for PageModel { names, text, network } in models {
            details {
                summary { (names) }
                @if let Some(network) = network { (diagram(network)) }
                details { summary { "as text" } pre { (text) } }
            }
        }
    }
}

/// The address of a folder, in a page that lies in another one: relative, so that both can be moved together.
pub fn link_from(page_folder: Option<&Path>, folder: &Path) -> String {
    let whole = |path: &Path| std::path::absolute(path).and_then(|path| path.canonicalize().or(Ok(path)));
    let encoded = |path: &Path| {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(percent(&name.to_string_lossy())),
            Component::ParentDir => Some("..".to_owned()),
            _ => None,
        });
        parts.map(|part| part + "/").collect::<String>()
    };
    let Ok(to) = whole(folder) else { return String::new() };
    let from = page_folder.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    match from.and_then(|from| whole(from).ok()) {
        // Without anything in common, as on drives of their own, no way leads from one to the other.
        Some(from) if from.components().next() == to.components().next() => {
            let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
            let up = from.components().skip(common).map(|_| "..");
            let relative: PathBuf = up.map(PathBuf::from).chain([to.components().skip(common).collect()]).collect();
            match encoded(&relative) {
                address if address.is_empty() => "./".to_owned(),
                address => address,
            }
        }
        _ => format!("file:///{}", encoded(&to)),
    }
}

/// What stands for itself in an address, and the rest as its bytes (RFC 3986, 2.3).
pub(super) fn percent(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests;
