use super::*;
use crate::{dsl::Value, experiment::sweep::Metric, report::table::tests::records};

fn page(records: &[Record], models: &[PageModel], view: &View) -> String {
    let link = |_: usize, folder: &Path| folder.display().to_string();
    Page { title: "a <sweep>", records, models, view, link: &link, live: false }.html().unwrap()
}

/// The data of a page, as the browser reads them.
fn read(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("type=\"application/json\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn no_text_of_a_trial_is_markup() {
    let mut records = records();
    let hostile = "</script><script>alert(1)</script><!--<b>&\"";
    records[0].variant[0].1 = Value::Str(hostile.into());
    records[1].damaged = Some(format!("damaged: {hostile}"));
    records[1].result = None;
    records[2].folder = hostile.into();
    let model = PageModel { names: hostile.into(), text: format!("x < y {hostile}"), network: None };
    let page = page(&records, &[model], &View::default());
    assert!(!page.contains("<b>") && !page.contains("<script>alert"), "{page}");
    // Three of ours: the data, the scripts, and nothing else.
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (2, 2));
    let data = read(&page);
    assert!(data["rows"][0]["name"].as_str().unwrap().contains(hostile.split('"').next().unwrap()), "{data:#}");
    assert!(page.contains("x &lt; y"));
}

#[test]
fn nothing_comes_from_outside() {
    let page = page(&records(), &[], &View::default());
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" src="));
}

#[test]
fn the_data_are_those_of_the_table() {
    let records = records();
    let view = View { pareto: Some(super::super::Price::Time), ..View::default() };
    let data = read(&page(&records, &[], &view));
    insta::assert_snapshot!(serde_json::to_string_pretty(&data).unwrap());
}

#[test]
fn by_what_a_sweep_compares_has_a_column_and_is_shown_first() {
    let records = records();
    let of = |metric| read(&page(&records, &[], &View { metric, ..View::default() }));
    let plain = of(Metric::ValAccuracy);
    assert_eq!(plain["metric"], serde_json::json!({ "curve": "validation accuracy", "measure": "val top-1" }));
    let data = of(Metric::ValLoss);
    assert_eq!(data["metric"], serde_json::json!({ "curve": "validation loss", "measure": "val loss" }));
    let names = |data: &serde_json::Value| -> Vec<String> {
        data["measures"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    };
    let place = names(&data).iter().position(|name| name == "val loss").unwrap();
    assert_eq!((names(&data)[place - 1].as_str(), names(&data).len()), ("val top-1", names(&plain).len() + 1));
    assert_eq!(data["measures"][place]["better"], "less");
    assert_eq!(of(Metric::ValTop5Accuracy)["metric"]["measure"], "val top-5");
}

#[test]
fn a_link_leads_from_the_page_to_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let trial = folder.path().join("runs/a sweep#1/trials/vit-12?ü");
    std::fs::create_dir_all(&trial).unwrap();
    let from = |page: &Path| link_from(Some(page), &trial);
    assert_eq!(from(folder.path()), "runs/a%20sweep%231/trials/vit-12%3F%C3%BC/");
    let pages = folder.path().join("pages/deep");
    std::fs::create_dir_all(&pages).unwrap();
    assert_eq!(from(&pages), "../../runs/a%20sweep%231/trials/vit-12%3F%C3%BC/");
    assert_eq!(from(&trial), "./");
    let absolute = link_from(None, &trial);
    assert!(absolute.starts_with("file:///") && absolute.ends_with("/trials/vit-12%3F%C3%BC/"), "{absolute}");
}
