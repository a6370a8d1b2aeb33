//! Tables of the core that the face reads once.

use napi_derive::napi;

use crate::{limits, validate};

/// The rule table of all schemas, as JSON.
// Node alone calls it, and the unit tests run without.
#[cfg_attr(test, allow(dead_code))]
#[napi(catch_unwind)]
pub fn rules() -> String {
    validate::rules_json()
}

/// Every default and bound, as JSON; see [`limits`].
// Node alone calls it, and the unit tests run without.
#[cfg_attr(test, allow(dead_code))]
#[napi(catch_unwind)]
pub fn limits() -> String {
    limits::to_json()
}
