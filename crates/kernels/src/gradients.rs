//! Gradients of a loss, without candle's detour for those of a whole tower.
//!
//! candle's `backward` fills zeros for each argument of each operation and adds the gradient to them: two passes
//! over every parameter. Those that [`crate::fused`] finds are moved here instead, past candle.

use std::cell::RefCell;

use candle_core::{Result, Tensor, backprop::GradStore};

use crate::sums::sum;

/// Variables and their gradients.
type Found = Vec<(Tensor, Tensor)>;

thread_local! {
    /// What the innermost [`backward`] on this thread has found so far.
    static FOUND: RefCell<Option<Found>> = const { RefCell::new(None) };
}

/// Gradients of `loss`, a scalar, as `loss.backward()` gives them.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let outer = FOUND.replace(Some(Found::new()));
    let gradients = loss.backward();
    let found = FOUND.replace(outer).unwrap_or_default();
    let mut gradients = gradients?;
    for (variable, gradient) in found {
        // What is used in two towers, or also outside of one, has more than one gradient.
        let total = match gradients.remove(&variable) {
            Some(other) => sum(&other, &gradient)?,
            None => gradient,
        };
        gradients.insert(&variable, total);
    }
    Ok(gradients)
}

/// Takes the gradient of a variable where [`backward`] runs on this thread, and gives it back where not.
pub(crate) fn take(variable: &Tensor, gradient: Tensor) -> Option<Tensor> {
    FOUND.with_borrow_mut(|found| match found {
        Some(found) if variable.is_variable() => {
            found.push((variable.clone(), gradient));
            None
        }
        _ => Some(gradient),
    })
}
