//! Panics of libraries that read what a user hands over.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A library panicked over what it read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked(String);

impl std::fmt::Display for Panicked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "damaged; its reader panicked: {}", self.0)
    }
}

impl std::error::Error for Panicked {}

/// Reads something that may be damaged: a panic becomes an error, and nothing is printed of it.
pub fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, Panicked> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if !is_guarded() {
                others(panic);
            }
        }));
    });
    let _guard = Guard::new();
    catch_unwind(AssertUnwindSafe(read)).map_err(|payload| Panicked(panic_text(&*payload).to_owned()))
}

/// The message of a panic's payload.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

thread_local! {
    static GUARDED_HERE: Cell<usize> = const { Cell::new(0) };
}
static GUARDED: AtomicUsize = AtomicUsize::new(0);

struct Guard;

impl Guard {
    fn new() -> Self {
        GUARDED_HERE.set(GUARDED_HERE.get() + 1);
        GUARDED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED_HERE.set(GUARDED_HERE.get() - 1);
        GUARDED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a panic on this thread reaches a guard: it runs there, or it is one of the threads of polars, which hand
/// panics to whom they work for.
fn is_guarded() -> bool {
    let of_polars = || std::thread::current().name().is_some_and(|name| name.starts_with("polars"));
    GUARDED_HERE.get() > 0 || (GUARDED.load(Ordering::Relaxed) > 0 && of_polars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_guards_nest() {
        let found = guarded(|| {
            let inner = guarded(|| -> u32 { panic!("inside") });
            assert!(inner.is_err_and(|error| error.to_string().contains("inside")) && is_guarded());
            guarded(|| 7)
        });
        assert_eq!(found, Ok(Ok(7)));
        assert!(!is_guarded());
    }
}
