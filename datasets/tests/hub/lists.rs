//! Lists of captions and addresses.

use std::path::Path;
use std::time::{Duration, Instant};

use datasets::fetch::tsv::{List, Options, Report, fetch};
use datasets::hub::Patience;
use harness::progress::{Progress, Verbosity};

use crate::server::{Fault, Page, Server};

fn png(shade: u8, side: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(side, side, image::Rgb([shade, 0, 0]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn serve(server: &Server, path: &str, body: Vec<u8>) {
    server.add_page(path, Page { status: 200, headers: Vec::new(), body });
}

fn options(folder: &Path) -> Options {
    let patience =
        Patience { attempts: 3, first_wait: Duration::from_millis(1), timeout: Duration::from_millis(400) };
    let (limit, resize) = (None, None);
    Options {
        folder: folder.to_owned(),
        limit,
        rate: 1000.0,
        jobs: 4,
        patience,
        resize,
        allow_loopback: true,
    }
}

fn run(list: &str, options: &Options) -> anyhow::Result<Report> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), list)?;
    fetch(&List::open(file.path())?, options, &Progress::new(Verbosity::Quiet, 1.0, 80))
}

fn read(folder: &Path, name: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(folder.join(name)).unwrap();
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn images(folder: &Path) -> usize {
    let Ok(folders) = std::fs::read_dir(folder.join("images")) else { return 0 };
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn images_are_kept_by_content_and_the_rest_is_gone_for_a_reason() {
    let server = Server::start();
    let url = server.url();
    serve(&server, "/a/1.jpg", png(1, 8));
    serve(&server, "/b/1.jpg", png(2, 8));
    serve(&server, "/copy.jpg", png(1, 8));
    serve(&server, "/page.jpg", b"<html>parked</html>".to_vec());
    serve(&server, "/half.jpg", png(3, 64)[..60].to_vec());
    serve(&server, "/empty.jpg", Vec::new());
    let moved = vec![("Location", "http://10.0.0.1/inside.jpg".to_owned())];
    server.add_page("/moved.jpg", Page { status: 302, headers: moved, body: Vec::new() });
    let found = vec![("Location", "/a/1.jpg".to_owned())];
    server.add_page("/found.jpg", Page { status: 301, headers: found, body: Vec::new() });
    let list = format!(
        "a first\t{url}/a/1.jpg\na second, with comma\t{url}/b/1.jpg\na copy\t{url}/copy.jpg\na page\t{url}/page.jpg\n\
         half\t{url}/half.jpg\nnone\t{url}/none.jpg\nempty\t{url}/empty.jpg\ninside\thttp://192.168.0.1/x.jpg\n\
         moved inside\t{url}/moved.jpg\nfound\t{url}/found.jpg\nno address\t\nodd\tnot an address\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let report = run(&list, &options(folder.path())).unwrap();
    assert_eq!((report.lines, report.pairs, report.may_come), (12, 4, 0));
    let gone: Vec<(&str, u64)> =
        report.gone.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(
        gone,
        [
            ("bad address", 1),
            ("cut off", 1),
            ("empty file", 1),
            ("no image", 1),
            ("not an image", 1),
            ("refused host", 2),
            ("status 404", 1),
        ]
    );
    let pairs = read(folder.path(), "pairs.csv");
    assert_eq!(pairs[1][1], "a second, with comma");
    assert_eq!(pairs[0][0], pairs[2][0], "equal images have one file");
    assert_ne!(pairs[0][0], pairs[1][0], "two addresses share a name");
    assert_eq!(images(folder.path()), 2);
    for pair in &pairs {
        let bytes = std::fs::read(folder.path().join(&pair[0])).unwrap();
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), pair[3]);
        assert!(pair[0].contains(&pair[3]) && pair[2].starts_with("http://127"));
    }
    let gone = read(folder.path(), "gone.csv");
    assert_eq!(gone[0][..3], ["4".to_owned(), "not an image".to_owned(), format!("{url}/page.jpg")]);
    assert!(std::fs::read_to_string(folder.path().join("report.yaml")).unwrap().contains("status 404: 1"));
    assert!(server.requests().iter().all(|asked| asked.headers["user-agent"].starts_with("cleanbench/")));
}

#[test]
fn passing_failures_are_tried_again_now_and_later() {
    let server = Server::start();
    let list = format!("a\t{0}/a.png\nb\t{0}/b.png\nc\t{0}/c.png\n", server.url());
    for path in ["/a.png", "/b.png", "/c.png"] {
        serve(&server, path, png(1, 8));
    }
    server.fail("/a.png", Fault::Status(503, Vec::new()));
    server.fail("/a.png", Fault::CutAfter(10));
    for _ in 0..3 {
        server.fail("/b.png", Fault::Silence(Duration::from_millis(900)));
    }
    server.fail("/c.png", Fault::Status(429, vec![("Retry-After", "600".into())]));
    let folder = tempfile::tempdir().unwrap();
    let report = run(&list, &options(folder.path())).unwrap();
    assert_eq!(
        (report.pairs, report.may_come, report.gone["timeout"], report.gone["status 429"]),
        (1, 2, 1, 1)
    );
    assert_eq!(server.ranges("/a.png").len(), 3);
    let report = run(&list, &options(folder.path())).unwrap();
    assert_eq!((report.pairs, report.may_come), (3, 0));
    assert_eq!(server.ranges("/a.png").len(), 3, "what is there is not fetched again");
}

#[test]
fn a_longer_limit_goes_on_and_other_lists_are_refused() {
    let server = Server::start();
    let list: String = (0..6).map(|index| format!("{index}\t{}/{index}.png\n", server.url())).collect();
    for index in 0..6 {
        serve(&server, &format!("/{index}.png"), png(index, 8));
    }
    let folder = tempfile::tempdir().unwrap();
    let first = Options { limit: Some(2), ..options(folder.path()) };
    assert_eq!(run(&list, &first).unwrap().pairs, 2);
    assert_eq!(run(&list, &options(folder.path())).unwrap().pairs, 6);
    assert_eq!(server.requests().len(), 6);
    let error = run("x\thttp://127.0.0.1/\n", &first).unwrap_err().to_string();
    assert!(error.contains("belongs to another list"), "{error}");
    let error = run(&list, &Options { resize: Some(64), ..first }).unwrap_err().to_string();
    assert!(error.contains("another --resize"), "{error}");
}

#[test]
fn hosts_are_not_asked_too_often() {
    let server = Server::start();
    serve(&server, "/a.png", png(1, 8));
    let list: String = (0..5).map(|index| format!("{index}\t{}/a.png\n", server.url())).collect();
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    run(&list, &Options { rate: 10.0, ..options(folder.path()) }).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
}

#[test]
fn without_leave_this_machine_is_not_asked() {
    let server = Server::start();
    serve(&server, "/a.png", png(1, 8));
    let port = server.url().rsplit_once(':').unwrap().1.to_owned();
    let list = format!("a\t{}/a.png\nb\thttp://localhost:{port}/a.png\n", server.url());
    let folder = tempfile::tempdir().unwrap();
    let report = run(&list, &Options { allow_loopback: false, ..options(folder.path()) }).unwrap();
    assert_eq!((report.pairs, report.gone["refused host"]), (0, 2));
    assert!(server.requests().is_empty());
}

#[test]
fn large_images_are_shrunk() {
    let server = Server::start();
    serve(&server, "/a.png", png(200, 300));
    let folder = tempfile::tempdir().unwrap();
    let list = format!("a\t{}/a.png\n", server.url());
    run(&list, &Options { resize: Some(64), ..options(folder.path()) }).unwrap();
    let pairs = read(folder.path(), "pairs.csv");
    let image = clip::Image::open(&folder.path().join(&pairs[0][0])).unwrap();
    assert_eq!((image.width(), image.height()), (64, 64));
    assert!(pairs[0][0].ends_with(".jpg"));
}
