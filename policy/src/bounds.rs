//! What a condition comes to before anything is known about the call: at least, and at most.
//!
//! INVARIANT: where [`at_most`] of a condition is false, no call makes the condition true; where [`at_least`] of it is true, every call
//! makes it true, or fails it, which denies. By induction over `!`, `&&`, `||` and `if`; whatever else looks at the context may be
//! anything. A bound that fails says nothing.

use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Expr, Literal, UnaryOp};

use crate::reads::mentions_context;

/// The condition, as true as any call could make it.
pub(crate) fn at_most(condition: &Arc<Expr>) -> Arc<Expr> {
    bound(condition, true)
}

/// The condition, as false as any call could make it.
pub(crate) fn at_least(condition: &Arc<Expr>) -> Arc<Expr> {
    bound(condition, false)
}

/// What a condition is known to be, whoever calls.
pub(crate) fn constant(condition: &Expr) -> Option<bool> {
    match condition {
        Expr::Literal(Literal::Bool(known)) => Some(*known),
        _ => None,
    }
}

fn bound(condition: &Arc<Expr>, most: bool) -> Arc<Expr> {
    if !mentions_context(condition) {
        return Arc::clone(condition);
    }
    match &**condition {
        Expr::UnaryOp { op: UnaryOp::Not, expr } => not(bound(expr, !most)),
        Expr::BinaryOp { op: BinaryOp::And, left, right } => and(bound(left, most), bound(right, most)),
        Expr::BinaryOp { op: BinaryOp::Or, left, right } => or(bound(left, most), bound(right, most)),
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            let (then, other) = (bound(then_expr, most), bound(else_expr, most));
            if !mentions_context(cond) {
                return Arc::new(Expr::IfThenElse { cond: Arc::clone(cond), then_expr: then, else_expr: other });
            }
            // Either branch may be taken.
            if most { or(then, other) } else { and(then, other) }
        }
        _ => known(most),
    }
}

fn known(value: bool) -> Arc<Expr> {
    Arc::new(Expr::Literal(Literal::Bool(value)))
}

fn not(operand: Arc<Expr>) -> Arc<Expr> {
    match constant(&operand) {
        Some(value) => known(!value),
        None => Arc::new(Expr::UnaryOp { op: UnaryOp::Not, expr: operand }),
    }
}

fn and(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    match (constant(&left), constant(&right)) {
        (Some(false), _) | (_, Some(false)) => known(false),
        (Some(true), _) => right,
        (_, Some(true)) => left,
        (None, None) => Arc::new(Expr::BinaryOp { op: BinaryOp::And, left, right }),
    }
}

fn or(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    match (constant(&left), constant(&right)) {
        (Some(true), _) | (_, Some(true)) => known(true),
        (Some(false), _) => right,
        (_, Some(false)) => left,
        (None, None) => Arc::new(Expr::BinaryOp { op: BinaryOp::Or, left, right }),
    }
}
