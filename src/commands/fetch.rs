//! `cleanbench data fetch`.

use std::time::Duration;

use anyhow::Result;
use base::outln;
use datasets::fetch::catalogue::{self, SOURCES};
use datasets::fetch::{self, Receipt, Source, Wanted, bytes};
use datasets::hub::{Hub, Kind, Patience, Settings, Standing};

use super::progress;
use crate::cli::FetchOptions;
use crate::{FAILED, SUCCESS, user_error};

/// Lists, checks or fetches.
pub(crate) fn fetch(options: &FetchOptions) -> Result<u8> {
    if options.list {
        list();
        return Ok(SUCCESS);
    }
    let timeout = Duration::from_secs(options.timeout);
    let patience = Patience { attempts: options.retries + 1, timeout, ..Patience::default() };
    let hub = || Hub::new(Settings::from_environment(patience));
    if options.check {
        return check(&hub()?);
    }
    let Some(name) = &options.name else { return Ok(SUCCESS) };
    let source = catalogue::find(name).map_err(user_error)?;
    fetch_source(&hub()?, source, options)
}

fn fetch_source(hub: &Hub, source: &Source, options: &FetchOptions) -> Result<u8> {
    let limit = options.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let choice = fetch::choose(hub, &Wanted { source, revision: options.revision.as_deref(), limit })?;
    let size = bytes(choice.size());
    let count = match choice.files.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    if options.dry_run {
        for chosen in &choice.files {
            outln!("{:>10}  {}", bytes(chosen.file.size), chosen.file.path);
        }
        let missing = bytes(choice.missing);
        let (from, commit) = (source.repository, choice.commit);
        outln!("{count} of {from} at {commit}: {size}, of which {missing} must still come");
        return Ok(SUCCESS);
    }
    let progress = progress(options.quiet, choice.missing as f64);
    progress.say(&format!("{}: {} at {}, {count}, {size}", source.name, source.repository, choice.commit));
    let folder = options.to.clone().unwrap_or_else(|| fetch::default_folder(source));
    fetch::fetch(hub, &choice, &folder, usize::from(options.jobs), &progress)?;
    outln!("{}: {count}, {size}, in {}", source.name, folder.display());
    Ok(SUCCESS)
}

/// What brings the files that an error names, with their size as far as known; nothing where no source does.
pub(crate) fn remedy(error: &str) -> String {
    let command = |source: &Source| {
        let size = source.size.map_or_else(|| "size: --dry-run".to_owned(), bytes);
        format!("; cleanbench data fetch {} ({size})", source.name)
    };
    catalogue::named_in(error).map(command).collect()
}

/// Prints what is known and what of it is on disk.
fn list() {
    for source in SOURCES {
        let size = source.size.map_or_else(|| "size unknown".to_owned(), bytes);
        let gated = if source.gated { ", gated" } else { "" };
        outln!("{:<17}{} ({size}{gated})", source.name, source.title);
        outln!("{:17}{} at {}", "", source.repository, source.revision);
        let folder = fetch::default_folder(source);
        let (into, reader) = (folder.display(), reader(source));
        outln!("{:17}into {into}, read by {reader}; licence: {}", "", source.licence);
        if let Ok(receipt) = Receipt::read(&folder) {
            let there = receipt.files.iter().filter(|file| {
                folder.join(&file.path).metadata().is_ok_and(|found| found.len() == file.size)
            });
            let (there, all) = (there.count(), receipt.files.len());
            outln!("{:17}in {into}: {there} of {all} files fetched, at {}", "", receipt.commit);
        }
    }
}

/// Who reads a source, and with which settings where its presets do not look there.
fn reader(source: &Source) -> String {
    let path = format!("data/{}", source.folder);
    if source.kind == Kind::Model {
        let file = source.files.first().map_or("", |files| files.pattern);
        return format!("a plan's `initial-weights: {path}/{file}`");
    }
    let name = source.read_by;
    let entries = datasets::all();
    let presets = entries.iter().find(|entry| entry.card.name == name).map(|entry| (entry.presets)());
    let settings = presets.into_iter().flatten().map(|(_, settings)| settings).collect::<Vec<_>>();
    if settings.iter().any(|settings| settings.to_string().contains(&format!("\"{path}"))) {
        return format!("`{name}`");
    }
    let setting = match settings.iter().any(|settings| settings.get("test").is_some()) {
        true => format!("test: {path}"),
        false => format!("train: {path}/test, validation: {path}/test"),
    };
    format!("`{{ name: {name}, {setting} }}`")
}

/// Prints which sources are alive.
fn check(hub: &Hub) -> Result<u8> {
    let mut code = SUCCESS;
    for source in SOURCES {
        let text = match hub.standing(source.repository(), source.revision)? {
            Standing::Open => "alive".to_owned(),
            Standing::Gated => format!("alive; terms to accept on {}", source.repository().page()),
            Standing::Gone(error) => {
                code = FAILED;
                format!("NOT THERE: {error}")
            }
        };
        outln!("{:<17}{} at {}: {text}", source.name, source.repository, source.revision);
    }
    Ok(code)
}
