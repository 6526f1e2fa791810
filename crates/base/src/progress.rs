//! Progress of long work: on a terminal one bar and a line for each running stage, redrawn in place; elsewhere plain
//! lines, or one JSON object a line (`results/README.md` documents every field).

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::output::print_error;
use crate::{errln, outln};

/// How much is shown on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Only problems.
    Quiet,
    /// Stages and time left.
    Normal,
    /// Events on stdout; on stderr only problems.
    Json,
}

/// A training step, reported after it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Steps done, over all epochs.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss before the step; on a GPU that of the last step whose loss was looked at, one in ten.
    pub loss: f32,
    /// Examples per second since this call of `train` began.
    pub examples_per_second: f64,
}

/// Events of stages, on stdout.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum StageEvent<'a> {
    StageStarted {
        stage: &'a str,
    },
    /// At most once a second for each stage.
    Step {
        stage: &'a str,
        epoch: usize,
        epochs: usize,
        step: usize,
        steps: usize,
        /// Null before the first loss was read back from the device.
        loss: f32,
        examples_per_second: f64,
        /// Null until a speed is known.
        seconds_left: Option<f64>,
    },
    StageFinished {
        stage: &'a str,
        cached: bool,
        done: bool,
        seconds: f64,
    },
}

/// Writes an event to stdout.
pub fn print_event(event: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(event) {
        outln!("{line}");
    }
}

/// Progress of a whole run; shared by its workers.
pub struct Progress {
    verbosity: Verbosity,
    live: bool,
    width: usize,
    state: Mutex<State>,
}

struct State {
    started: Instant,
    /// Work in expected training examples: done, of finished stages, and in all.
    done: f64,
    total: f64,
    /// Examples that were not trained here because the store had them.
    cached: f64,
    running: BTreeMap<String, Running>,
    drawn: Instant,
    /// Lines of the terminal that are redrawn.
    lines: usize,
    said: Instant,
}

struct Running {
    expected: f64,
    share: f64,
    text: String,
    started: Instant,
    /// What an earlier run had done of it.
    resumed: Option<f64>,
    told: Option<Instant>,
}

impl Running {
    /// Seconds left at the speed so far.
    fn left(&self) -> Option<f64> {
        let done = self.share - self.resumed?;
        let seconds = self.started.elapsed().as_secs_f64();
        (done > 0.0 && seconds > 1.0).then(|| seconds * (1.0 - self.share) / done)
    }
}

/// Seconds between plain lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);
/// Seconds between redraws of the live line.
const LIVE_INTERVAL: Duration = Duration::from_millis(120);
/// Seconds between events of one stage's steps.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
/// Columns of the bar.
const BAR: usize = 24;

impl Progress {
    /// Progress over `total` units of expected work. `width` is the terminal's, in columns.
    pub fn new(verbosity: Verbosity, total: f64, width: usize) -> Self {
        let now = Instant::now();
        let state = State {
            started: now,
            done: 0.0,
            total: total.max(1.0),
            cached: 0.0,
            running: BTreeMap::new(),
            drawn: now,
            lines: 0,
            said: now,
        };
        let live = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        Self { verbosity, live, width, state: Mutex::new(state) }
    }

    /// A stage of `expected` units of work begins.
    pub fn begin(&self, name: &str, expected: f64) {
        let mut state = self.lock();
        let (text, started) = (String::new(), Instant::now());
        let running = Running { expected, share: 0.0, text, started, resumed: None, told: None };
        state.running.insert(name.to_owned(), running);
        self.emit(&StageEvent::StageStarted { stage: name });
    }

    /// A stage that trains has done a step.
    pub fn step(&self, name: &str, step: &Step) {
        let &Step { epoch, epochs, step, steps, loss, examples_per_second } = step;
        let text = format!("epoch {epoch}/{epochs} loss {loss:.3} {examples_per_second:.0}/s");
        self.advance(name, step as f64 / steps as f64, text);
        let mut state = self.lock();
        let Some(running) = state.running.get_mut(name) else { return };
        if self.verbosity == Verbosity::Json
            && running.told.is_none_or(|told| told.elapsed() >= EVENT_INTERVAL)
        {
            running.told = Some(Instant::now());
            let seconds_left = running.left();
            self.emit(&StageEvent::Step {
                stage: name,
                epoch,
                epochs,
                step,
                steps,
                loss,
                examples_per_second,
                seconds_left,
            });
        }
    }

    /// Writes an event if events were asked for ([`Verbosity::Json`]).
    pub fn emit(&self, event: &impl Serialize) {
        if self.verbosity == Verbosity::Json {
            print_event(event);
        }
    }

    /// A running stage is `share` (0 to 1) done; `text` says more.
    pub fn advance(&self, name: &str, share: f64, text: String) {
        let mut state = self.lock();
        let mut resumed = 0.0;
        if let Some(running) = state.running.get_mut(name) {
            if running.resumed.is_none() {
                running.resumed = Some(share);
                resumed = running.expected * share;
            }
            running.share = share;
            running.text = text;
        }
        state.cached += resumed;
        self.draw(&mut state);
    }

    /// A stage ended; `cached` says that the store had it, `done` that there is a result.
    pub fn end(&self, name: &str, cached: bool, done: bool) {
        let mut state = self.lock();
        if let Some(running) = state.running.remove(name) {
            let seconds = running.started.elapsed().as_secs_f64();
            self.emit(&StageEvent::StageFinished { stage: name, cached, done, seconds });
            state.done += running.expected;
            if cached {
                state.cached += running.expected;
            }
        }
    }

    /// More work is to be done.
    pub fn add_work(&self, expected: f64) {
        self.lock().total += expected;
    }

    /// Says one line that stays.
    pub fn say(&self, line: &str) {
        if self.verbosity != Verbosity::Normal {
            return;
        }
        let mut state = self.lock();
        self.print(&mut state, line);
        state.drawn = Instant::now() - LIVE_INTERVAL;
        self.draw(&mut state);
    }

    /// Says one line even when quiet: a problem.
    pub fn warn(&self, line: &str) {
        self.print(&mut self.lock(), &format!("warning: {line}"));
    }

    /// Removes the live lines.
    pub fn clear(&self) {
        let erase = self.lock().erase();
        print_error(format_args!("{erase}"));
    }

    fn print(&self, state: &mut State, line: &str) {
        errln!("{}{line}", state.erase());
    }

    fn draw(&self, state: &mut State) {
        if self.verbosity != Verbosity::Normal {
            return;
        }
        let now = Instant::now();
        if self.live && now - state.drawn >= LIVE_INTERVAL {
            state.drawn = now;
            let erase = state.erase();
            let lines = state.live(self.width);
            state.lines = lines.len();
            print_error(format_args!("{erase}{}", lines.join("\n")));
        } else if !self.live && now - state.said >= PLAIN_INTERVAL {
            state.said = now;
            errln!("{}", state.line());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// What takes the live lines away.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.lines) {
            0 => String::new(),
            1 => "\r\x1b[J".to_owned(),
            lines => format!("\r\x1b[{}A\x1b[J", lines - 1),
        }
    }

    /// A bar for all, and a line for each running stage, cut to `width`.
    fn live(&self, width: usize) -> Vec<String> {
        let (share, summary) = self.summary();
        let full = (share * BAR as f64) as usize;
        let mut lines = vec![format!("[{}{}] {summary}", "#".repeat(full), ".".repeat(BAR - full))];
        let longest = self.running.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, running) in &self.running {
            let left = running.left().map_or(String::new(), |left| format!(" {} left", duration(left)));
            lines.push(format!("  {name:<longest$}  {}{left}", running.text));
        }
        let cut = |line: String| line.chars().take(width.saturating_sub(1)).collect();
        lines.into_iter().map(cut).collect()
    }

    /// All in one line.
    fn line(&self) -> String {
        let mut line = self.summary().1;
        for (name, running) in &self.running {
            line += &format!(" | {name} {}", running.text);
        }
        line
    }

    /// The share that is done, and it and the time left in words.
    fn summary(&self) -> (f64, String) {
        let underway: f64 = self.running.values().map(|running| running.expected * running.share).sum();
        let share = ((self.done + underway) / self.total).clamp(0.0, 1.0);
        let (trained, left) = (self.done + underway - self.cached, self.total - self.done - underway);
        let elapsed = self.started.elapsed().as_secs_f64();
        let mut line = format!("{:3.0} %", share * 100.0);
        if trained > 0.0 && elapsed > 3.0 {
            line += &format!(", {} left", duration(elapsed * left.max(0.0) / trained));
        }
        (share, line)
    }
}

/// Bytes as `1.2 kB`, `3.4 MB` or `5.6 GB`.
pub fn size(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    }
}

/// Seconds as `1:02:03` or `2:03`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_as_people_write_them() {
        assert_eq!(duration(59.6), "1:00");
        assert_eq!(duration(3723.0), "1:02:03");
        assert_eq!([500.0, 2.5e6, 5.03e11].map(size), ["0.5 kB", "2.5 MB", "503.0 GB"]);
    }

    #[test]
    fn cached_work_does_not_make_the_rest_look_fast() {
        let progress = Progress::new(Verbosity::Quiet, 300.0, 80);
        for (name, cached) in [("a", true), ("b", false)] {
            progress.begin(name, 100.0);
            progress.end(name, cached, true);
        }
        let mut state = progress.lock();
        state.started = Instant::now() - Duration::from_secs(50);
        assert_eq!(state.line(), " 67 %, 0:50 left");
    }

    #[test]
    fn running_stages_have_a_line_each_below_the_bar() {
        let progress = Progress::new(Verbosity::Quiet, 400.0, 80);
        for name in ["train a", "train longer"] {
            progress.begin(name, 200.0);
            progress.advance(name, 0.0, "epoch 1/4".to_owned());
        }
        progress.advance("train a", 0.5, "epoch 3/4 loss 1.000 10/s".to_owned());
        let mut state = progress.lock();
        for running in state.running.values_mut() {
            running.started = Instant::now() - Duration::from_secs(10);
        }
        let lines = state.live(80);
        assert_eq!(lines[0], "[######..................]  25 %");
        assert_eq!(lines[1], "  train a       epoch 3/4 loss 1.000 10/s 0:10 left");
        assert_eq!(lines[2], "  train longer  epoch 1/4");
        assert!(state.live(10).iter().all(|line| line.chars().count() == 9));
        state.lines = lines.len();
        assert_eq!((state.erase(), state.erase()), ("\r\x1b[2A\x1b[J".to_owned(), String::new()));
    }
}
