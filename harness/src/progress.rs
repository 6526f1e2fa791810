//! What a run tells its user while it goes on: one live line on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How much is shown on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Only problems.
    Quiet,
    /// Stages and time left.
    Normal,
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
    said: Instant,
}

struct Running {
    expected: f64,
    share: f64,
    text: String,
}

/// Seconds between plain lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);
/// Seconds between redraws of the live line.
const LIVE_INTERVAL: Duration = Duration::from_millis(120);

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
            said: now,
        };
        let live = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        Self { verbosity, live, width, state: Mutex::new(state) }
    }

    /// A stage of `expected` units of work begins.
    pub fn begin(&self, name: &str, expected: f64) {
        let mut state = self.lock();
        state.running.insert(name.to_owned(), Running { expected, share: 0.0, text: String::new() });
    }

    /// A running stage is `share` (0 to 1) done; `text` says more.
    pub fn advance(&self, name: &str, share: f64, text: String) {
        let mut state = self.lock();
        let mut resumed = 0.0;
        if let Some(running) = state.running.get_mut(name) {
            if running.text.is_empty() {
                resumed = running.expected * share; // what an earlier run had done
            }
            running.share = share;
            running.text = text;
        }
        state.cached += resumed;
        self.draw(&mut state);
    }

    /// A stage ended; `cached` says that the store had it.
    pub fn end(&self, name: &str, cached: bool) {
        let mut state = self.lock();
        if let Some(running) = state.running.remove(name) {
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
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let mut state = self.lock();
        self.print(line);
        state.drawn = Instant::now() - LIVE_INTERVAL;
        self.draw(&mut state);
    }

    /// Says one line even when quiet: a problem.
    pub fn warn(&self, line: &str) {
        let _state = self.lock();
        self.print(&format!("warning: {line}"));
    }

    /// Removes the live line.
    pub fn clear(&self) {
        if self.live {
            eprint!("\r\x1b[2K");
        }
    }

    fn print(&self, line: &str) {
        self.clear();
        // A closed stderr is no reason to stop a run.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn draw(&self, state: &mut State) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let now = Instant::now();
        if self.live && now - state.drawn >= LIVE_INTERVAL {
            state.drawn = now;
            let line = state.line();
            let line: String = line.chars().take(self.width.saturating_sub(1)).collect();
            let _ = write!(std::io::stderr(), "\r\x1b[2K{line}").and_then(|()| std::io::stderr().flush());
        } else if !self.live && now - state.said >= PLAIN_INTERVAL {
            state.said = now;
            let _ = writeln!(std::io::stderr(), "{}", state.line());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn line(&self) -> String {
        let underway: f64 = self.running.values().map(|running| running.expected * running.share).sum();
        let share = ((self.done + underway) / self.total).clamp(0.0, 1.0);
        let (trained, left) = (self.done + underway - self.cached, self.total - self.done - underway);
        let elapsed = self.started.elapsed().as_secs_f64();
        let mut line = format!("{:3.0} %", share * 100.0);
        if trained > 0.0 && elapsed > 3.0 {
            line += &format!(", {} left", duration(elapsed * left.max(0.0) / trained));
        }
        for (name, running) in &self.running {
            line += &format!(" | {name} {}", running.text);
        }
        line
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
    fn durations_read_as_clocks_do() {
        assert_eq!(duration(59.6), "1:00");
        assert_eq!(duration(3723.0), "1:02:03");
    }

    #[test]
    fn cached_work_does_not_make_the_rest_look_fast() {
        let progress = Progress::new(Verbosity::Quiet, 300.0, 80);
        for (name, cached) in [("a", true), ("b", false)] {
            progress.begin(name, 100.0);
            progress.end(name, cached);
        }
        let mut state = progress.lock();
        state.started = Instant::now() - Duration::from_secs(50);
        assert_eq!(state.line(), " 67 %, 0:50 left");
    }
}
