//! Integration tests of the controller's core.
//!
//! Owns one binary for all of them. Invariant: everything is tested through the public interface.
//! Does not test reading of formats: those tests stand beside the code.

mod descent;
mod fleet;
mod scripts;
