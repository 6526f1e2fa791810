//! The page of a record: what stands in it, and what a browser makes of it.

use std::path::Path;

use crate::support::{Bench, Ran, holds, root};

/// A bench with a page of three seeds, looked at after every epoch.
fn paged() -> (Bench, String) {
    let bench = Bench::defended("  - { name: cleanclip, preset: smoke, learning-rate: [1e-3, 3e-3] }\n");
    let every_epoch = ("target: banana", "target: banana\nevery-epoch: true");
    bench.plan("plan.yaml", &[("seeds: [0]", "seeds: [0, 1, 2]"), every_epoch]);
    bench.run(&["run", "plan.yaml", "--record", "record", "--quiet"]).judged();
    let page = bench.page("record");
    (bench, page)
}

#[test]
fn a_page_holds_all_that_a_reader_asks_for() {
    let (bench, page) = paged();
    for id in
        ["grid", "frontiers", "verdicts", "epochs", "triggers", "maps", "similarities", "cells", "record"]
    {
        holds(&page, &[&format!("<section id=\"{id}\"")]);
    }
    let words = [
        "published: RN50, CC3M, ImageNet; not ours",
        "arXiv 2311.14948v4",
        "difference × 10",
        "clean banana",
        "badnet, undefended",
        "30 pairs (30 stamp)",
        "cleanbench test record/plan.resolved.yaml 'badnet::cleanclip[learning-rate=0.001]::seed-2'",
        "prefers-color-scheme: dark",
        "@media print",
    ];
    holds(&page.replace("&#39;", "'"), &words);
    for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
        let found =
            page.match_indices(outside).filter(|(at, _)| !page[*at..].starts_with("http://www.w3.org/"));
        assert_eq!(found.count(), 0, "{outside}: a page needs no network");
    }
    // The hash of a manifest is that of the lines that `--poison` prints.
    let printed = bench.run(&["report", "record", "--format", "poison"]).out;
    let lines = printed.lines().filter(|line| line.starts_with("1,badnet,"));
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(!lines.is_empty() && page.contains(blake3::hash(lines.as_bytes()).to_hex().as_str()));
}

/// A record without maps, as older programs wrote them, has a page without maps.
#[test]
fn a_page_of_an_older_record_has_no_maps() {
    let page = Bench::with("micro", &[]).page(&root("results/anchors").display().to_string());
    assert!(page.contains("id=\"similarities\"") && !page.contains("id=\"maps\""));
}

/// What a browser tells of the page in a frame of some width, with everything opened: how wide it is, how dark, and what
/// a screen reader or a keyboard would miss.
const LOOK: &str = "event => {
  const page = event.target.contentDocument, root = page.documentElement, all = what => [...page.querySelectorAll(what)];
  all('details').forEach(one => one.open = true);
  const ids = all('[id]').map(one => one.id), named = all('[aria-labelledby]').flatMap(one =>
    one.getAttribute('aria-labelledby').split(' '));
  const missing = {
    'ids twice': ids.length - new Set(ids).size,
    'names of nothing': named.filter(id => !page.getElementById(id)).length,
    'links to nothing': all('a').filter(one => !page.querySelector(one.getAttribute('href'))).length,
    'figures without words': all('figure > svg').filter(one =>
      !one.querySelector('title').textContent || !one.querySelector('desc').textContent).length,
    'pictures without words': all('img').filter(one => !one.alt).length,
    'headers of nothing': all('th').filter(one => !one.scope).length,
    'tables without captions': all('table').filter(one => !one.caption).length,
    'tables out of reach': all('.wide').filter(one => one.tabIndex !== 0 || !one.ariaLabel).length,
    'levels left out': all('h1, h2, h3').filter((one, at, every) =>
      at > 0 && one.tagName[1] - every[at - 1].tagName[1] > 1).length,
  };
  const lacks = Object.entries(missing).filter(([, count]) => count > 0).map(([what, count]) => count + ' ' + what);
  const back = page.defaultView.getComputedStyle(page.body).backgroundColor.match(/[0-9]+/g).map(Number);
  const fits = root.scrollWidth <= root.clientWidth ? 'fits' : 'does not fit, ' + root.scrollWidth + ' needed';
  document.title = [fits, back[0] < 128 ? 'dark' : 'light', 'lacks ' + (lacks.join(', ') || 'nothing')].join('; ') + '.';
}";

/// The page at two widths in a browser, light and dark: no errors, nothing wider than the window, nothing without words.
#[test]
fn the_page_fits_a_desk_and_a_telephone() {
    let Some(browser) = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
    else {
        eprintln!("SKIPPED: there is no Chromium here, so no browser has seen the page");
        return;
    };
    let (bench, page) = paged();
    for (width, scheme, color) in [(1300, 1, "light"), (400, 0, "dark")] {
        // Chromium's windows are at least 500 wide; a frame is as narrow as it is told to be.
        let frame = format!(
            "<!doctype html><meta charset=utf-8><title>wait</title>\
             <iframe id=frame style='width:{width}px;height:900px;border:0' srcdoc=\"{}\"></iframe>\
             <script>document.getElementById('frame').onload = {LOOK};</script>",
            page.replace('&', "&amp;").replace('"', "&quot;")
        );
        std::fs::write(bench.path("frame.html"), frame).expect("written");
        let mut command = std::process::Command::new(browser);
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000", "--dump-dom"])
            .arg("--window-size=1400,1000")
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("--user-data-dir={}", bench.path("browser").display()))
            .arg(format!("file://{}", bench.path("frame.html").display()));
        let Ran { out: dom, err: log, .. } = Ran::of(&mut command);
        let found = dom.split("<title>").nth(1).and_then(|text| text.split("</title>").next());
        assert_eq!(found, Some(format!("fits; {color}; lacks nothing.").as_str()), "{width}");
        assert!(!log.contains("CONSOLE"), "{log}");
    }
}

#[test]
fn committed_figures_are_what_their_records_give() {
    let bench = Bench::with("micro", &[]);
    let mut looked_at = 0;
    for record in ["results/main", "results/tiny"].map(root) {
        bench.exits(0, &["report", &record.display().to_string(), "--figures", "drawn"]);
        for figure in std::fs::read_dir(record.join("figures")).expect("figures") {
            let figure = figure.expect("a figure").path();
            let name = figure.file_name().expect("a name").to_string_lossy().into_owned();
            let drawn = bench.read(&format!("drawn/{name}"));
            assert!(std::fs::read(&figure).expect("bytes") == drawn, "{name} is not what its record gives");
            looked_at += 1;
        }
    }
    assert!(looked_at >= 6, "{looked_at}");
}
