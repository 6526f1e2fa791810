//! The operations that a thread has applied, for [`crate::fused`](crate::fused()).

use std::cell::RefCell;

use candle_core::{Result, Tensor};

/// An operation of any number of arguments.
pub(crate) trait Applied: Send + Sync {
    /// The gradient of each argument that has one, for a gradient of the result.
    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

/// An operation that was applied, its arguments and its result.
pub(crate) struct Node {
    pub(crate) operation: Box<dyn Applied>,
    pub(crate) arguments: Vec<Tensor>,
    pub(crate) result: Tensor,
}

thread_local! {
    /// Nodes of the innermost [`recorded`] on this thread.
    static TAPE: RefCell<Option<Vec<Node>>> = const { RefCell::new(None) };
}

/// Runs `forward`, and gives the operations that it applied, in order.
pub(crate) fn recorded<T>(forward: impl FnOnce() -> T) -> (T, Vec<Node>) {
    let outer = TAPE.replace(Some(Vec::new()));
    let result = forward();
    (result, TAPE.replace(outer).unwrap_or_default())
}

/// Remembers an operation if a [`recorded`] encloses it and its result has a gradient.
pub(crate) fn record(operation: Box<dyn Applied>, arguments: Vec<Tensor>, result: &Tensor) {
    TAPE.with_borrow_mut(|tape| {
        if let (Some(nodes), true) = (tape, result.track_op()) {
            nodes.push(Node { operation, arguments, result: result.clone() });
        }
    });
}
