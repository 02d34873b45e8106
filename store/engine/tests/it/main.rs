//! Properties of a store, on real files.

mod access;
mod crash;
mod damage;
mod full;
mod publish;
mod rebuild;
mod support;
mod upload;
